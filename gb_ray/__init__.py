"""Global Brain on Ray: a corpus in many languages becomes a traced model in production."""

__version__ = "0.1.0"
