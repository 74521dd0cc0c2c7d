"""What is there: whether it is whole, what is in it, how two differ, the data card."""
