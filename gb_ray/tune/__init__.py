"""From a recipe with a space of values to the best of them: trials, and what they cost."""
