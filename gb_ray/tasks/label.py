"""The name of a label: the same whatever type a file has it in."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from gb_ray.corpus.clean.text import clean_text
from gb_ray.corpus.encoder import Reject


@lru_cache(maxsize=65536)  # labels are few and come again
def _text(value: str, column: str) -> str:
    return clean_text(value, column, 1)


def label_name(value: Any, column: str) -> str:
    """A text cleaned, a whole number in decimal. Raises Reject for what is no label."""
    if isinstance(value, bool | int):
        return str(value)
    if isinstance(value, float):
        if not value.is_integer():
            raise Reject(f"{column} is a fraction, expected a label")
        return str(int(value))
    return _text(value, column) if isinstance(value, str) else clean_text(value, column, 1)
