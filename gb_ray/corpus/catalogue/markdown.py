"""Texts of unknown content in Markdown, so that they are read as text: CommonMark 0.31, tables of GFM 0.29."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gb_ray.corpus.catalogue.figures import visible

_SPECIAL = re.compile(r"([\\`*\[\]<>|~&$]|(?<!\w)_|_(?!\w))")  # `_` within a word is no markup


def plain(text: str) -> str:
    """The text on one line, with a backslash before what would be markup within a line or a cell of a table."""
    return _SPECIAL.sub(r"\\\1", visible(" ".join(text.split())))


def block(lines: Sequence[str]) -> str:
    """The lines as they are, in a block of code."""
    shown = "\n".join(map(visible, lines))
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", shown))])
    return f"{fence}text\n{shown}\n{fence}"


def table(head: Sequence[str], rows: Sequence[Sequence[object]], words: int = 1) -> str:
    """A table whose cells are Markdown already; all but the first `words` columns stand to the right."""
    marks = ["---" if column < words else "---:" for column in range(len(head))]
    lines = (" | ".join(map(str, row)) for row in (head, marks, *rows))
    return "\n".join(f"| {line} |" for line in lines)
