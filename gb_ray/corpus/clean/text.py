"""Cleaning of text: what every task does to a string before anything else."""

from __future__ import annotations

import unicodedata

from gb_ray.corpus.encoder import Reject


def fold(text: str) -> str:
    """NFC, white space folded to one blank, ends stripped: training and answering read a text alike."""
    if not unicodedata.is_normalized("NFC", text):
        text = unicodedata.normalize("NFC", text)
    return " ".join(text.split())


def clean_text(value: object, column: str, min_chars: int) -> str:
    """NFC, white space folded to one blank, ends stripped. Raises Reject when there is no usable text."""
    if value is None:
        raise Reject(f"{column} is null")
    if not isinstance(value, str):
        raise Reject(f"{column} is {type(value).__name__}, expected text")
    if "\x00" in value:
        raise Reject(f"{column} has a NUL character")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Reject(f"{column} is not UTF-8") from None
    text = fold(value)
    if len(text) < min_chars:
        raise Reject(f"{column} is empty" if not text else f"{column} has under {min_chars} characters")
    return text
