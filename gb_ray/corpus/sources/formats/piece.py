"""A part of a file that one task reads, and what all formats share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from gb_ray.corpus.encoder import Reject
from gb_ray.corpus.sources.storage import File
from gb_ray.section import UserError

Row = dict[str, Any]
Rows = Iterator[tuple[int, Row | Reject]]
PIECE_BYTES = 64 << 20
"""Below this a file is not cut: starting a task costs more than it saves."""


@dataclass(frozen=True)
class Piece:
    """What one task reads: from `start` to `stop` in what the format cuts by (bytes, row groups); 0 and 0 is all."""

    file: File
    number: int = 0
    """Of its first row, counted from 0 in the file."""
    start: int = 0
    stop: int = 0


def whole(file: File) -> list[Piece]:
    """For formats whose files are read from their start only."""
    return [Piece(file)]


def found_columns(file: File, name: str, rows: Rows, sample: int) -> list[str]:
    """The keys of the first `sample` readable rows, in order of appearance. Raises UserError when there is none."""
    if file.size == 0:
        raise UserError(f"{file.uri}: the file is empty")
    first = list(islice((row for _, row in rows if isinstance(row, dict)), sample))
    if not first:
        raise UserError(f"{file.uri}: not one readable {name} row in it")
    return list(dict.fromkeys(key for row in first for key in row))
