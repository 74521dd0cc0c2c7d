"""The state of a run, saved while it trains and whole or not there."""
