"""What a result is worth: intervals, comparisons, parts of a split, and whether probabilities can be believed."""
