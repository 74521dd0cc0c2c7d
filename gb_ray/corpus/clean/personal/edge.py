"""Where a number starts and ends, and the words around it."""

from __future__ import annotations

import re
from collections.abc import Iterator

LETTERS = r"0-9A-Za-z_\u00c0-\u024f"
START = rf"(?<![{LETTERS}])(?<!\d[.,/:\-])(?<![{LETTERS}]/)"
"""No letter or digit of the Latin script before it; other scripts may run into a number."""
END = rf"(?![{LETTERS}]|[.,/:\-]\d)"
_BEFORE, _AFTER = 40, 16


def named(view: str, start: int, words: re.Pattern[str]) -> bool:
    """Whether one of the words is at most 40 characters before a number, on its line."""
    return words.search(view, max(0, start - _BEFORE, view.rfind("\n", 0, start)), start) is not None


def near(view: str, start: int, end: int, words: re.Pattern[str]) -> bool:
    """Whether a number is named, or one of the words is at most 16 characters after it."""
    return named(view, start, words) or words.search(view, end, end + _AFTER) is not None


def shorter(view: str, start: int, end: int) -> Iterator[int]:
    """The end of a run of digits, then the ends it has without its last parts, which a blank sets off."""
    yield end
    while (end := view.rfind(" ", start, end)) > 0:
        yield end
