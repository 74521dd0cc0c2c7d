"""What is done to a text: pure functions, one noun a file."""
