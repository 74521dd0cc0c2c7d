"""How a corpus is read: the order of an epoch, and a worker's share of it."""
