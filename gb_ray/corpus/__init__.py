"""Sources become a corpus: clean, tokenised samples in lanes of shards, in an order that never depends on the workers."""
