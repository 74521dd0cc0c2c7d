"""Runs, versions, gates, aliases and the ledger that says why an alias moved."""
