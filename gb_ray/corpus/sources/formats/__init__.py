"""One file a format: how a file is cut, and how rows come out of it."""
