"""Corpus and recipe in, an exact and resumable fine-tuning run out."""
