"""Near duplicates of a whole corpus, and the leaks among them."""
