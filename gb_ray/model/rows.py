"""The rows of a source with a model's answers in them: to read, to count, or to train on."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from gb_ray.corpus.clean.text import clean_text
from gb_ray.corpus.encoder import Reject
from gb_ray.corpus.sources.formats.piece import Row
from gb_ray.corpus.sources.source import OpenSource
from gb_ray.model.member import Encoded
from gb_ray.model.predictor import Predictor
from gb_ray.section import UserError

CHUNK_ROWS = 1024
"""Read, and sorted by length, at once."""
BATCH_TOKENS = 4096
"""Of one pass of the model, padding included."""
SHOWN = 10
"""Rows left out whose places are told; the others are counted."""


@dataclass
class Tally:
    """What became of the rows that were read; `shown` are the places of the first that were left out."""

    read: int = 0
    filtered: int = 0
    answered: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    shown: list[str] = field(default_factory=list)


def write(
    predictor: Predictor, source: OpenSource, column: str, out: Path, seen: Callable[[int], None] = lambda read: None
) -> Tally:
    """Make `out`, JSON lines: each row that has a text in `column`, in their order, with what its task would learn.

    A row without one is left out, and counted by its reason. `seen` is told how many rows were read. Raises UserError
    when there is no such text at all, a row has a column of an answer's name, or a value that JSON does not have.
    The file is there when it is whole.
    """
    tally = Tally()
    unfinished = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        with unfinished.open("w", encoding="utf-8") as file:
            rows = _rows(source, column, tally)
            while chunk := list(islice(rows, CHUNK_ROWS)):
                for line in _answered(predictor, chunk, column):
                    file.write(line + "\n")
                tally.answered += len(chunk)
                seen(tally.read)
        if not tally.answered:
            raise UserError(f"{source.section.uri}: no row with a text in {column!r} ({_reasons(tally)})")
        unfinished.replace(out)
    finally:
        unfinished.unlink(missing_ok=True)
    return tally


def _rows(source: OpenSource, column: str, tally: Tally) -> Iterator[Row]:
    for piece in source.pieces():
        for number, row in source.rows(piece):
            tally.read += 1
            if not isinstance(row, Reject) and not source.wanted(row):
                tally.filtered += 1
                continue
            try:
                if isinstance(row, Reject):
                    raise row
                clean_text(row.get(column), column, 1)
                yield row
            except Reject as why:
                tally.left_out[str(why)] += 1
                if len(tally.shown) < SHOWN:
                    tally.shown.append(f"{piece.opened.input.file.uri}: row {number}: {why}")


def _answered(predictor: Predictor, rows: list[Row], column: str) -> list[str]:
    """The rows as lines, in their order; those of near-equal length are computed together."""
    encoded = predictor.encode([row[column] for row in rows])
    lines = [""] * len(rows)
    for batch in _batches(encoded):
        taught = predictor.rows([encoded[i] for i in batch])
        for i, new in zip(batch, taught, strict=True):
            lines[i] = _line(rows[i], new, column)
    return lines


def _batches(encoded: list[Encoded]) -> Iterator[list[int]]:
    """Numbers of texts, shortest first, as many as BATCH_TOKENS holds padded to the longest."""
    batch: list[int] = []
    for i in sorted(range(len(encoded)), key=lambda i: len(encoded[i].input_ids)):
        if batch and (len(batch) + 1) * len(encoded[i].input_ids) > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def _line(row: Row, new: Row, column: str) -> str:
    if taken := sorted((new.keys() & row.keys()) - {column}):
        raise UserError(
            f"the rows have a column {taken[0]!r}, where the answers would be; leave it out of the file or rename it "
            "(gb evaluate compares answers with what is known)"
        )
    return json.dumps(row | new, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> str:
    """Dates and times as ISO 8601."""
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    raise UserError(f"a value is {type(value).__name__}, which JSON does not have; leave its column out of the file")


def _reasons(tally: Tally) -> str:
    left = [f"{count:,} {why}" for why, count in tally.left_out.most_common(3)]
    return ", ".join([f"{tally.read:,} read", f"{tally.filtered:,} filtered", *left])
