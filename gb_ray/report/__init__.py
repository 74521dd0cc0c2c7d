"""A run on one page: what came of it, where it is weak, what it took, and how to get it again."""
