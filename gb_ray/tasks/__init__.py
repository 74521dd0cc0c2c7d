"""What a sample teaches. One file a task: its columns, head, loss, metrics and decoding."""
