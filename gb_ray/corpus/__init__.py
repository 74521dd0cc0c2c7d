"""Sources become a corpus: clean, tokenised samples in lanes of shards, in an order no worker count changes."""
