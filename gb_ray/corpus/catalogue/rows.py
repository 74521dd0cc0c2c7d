"""The rows of a corpus as a person looks at them: what was kept of them, from shards that were verified."""

from __future__ import annotations

import hashlib
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gb_ray.corpus.catalogue.figures import cut
from gb_ray.corpus.corpus import Corpus
from gb_ray.corpus.manifest import Shard
from gb_ray.corpus.reading import fetch
from gb_ray.section import UserError

Row = dict[str, Any]
_ADDED = ("id", "source", "language", "input_ids", "label")
"""Columns that the build adds to those of the task."""


def read(corpus: Corpus, shard: Shard, columns: list[str] | None = None) -> pa.Table:
    """Some columns of a shard, or all. Raises UserError when the file is not the one that was built."""
    try:
        content = fetch.read(corpus.folder, shard.path)
    except FileNotFoundError:
        content = None
    if content is None or hashlib.sha256(content).hexdigest() != shard.sha256:
        what = "missing" if content is None else "not the file that was built"
        where = fetch.address(corpus.folder, shard.path)
        raise UserError(f"{where}: {what}; what else is wrong says: gb corpus check {corpus.uri}")
    return pq.ParquetFile(pa.BufferReader(content)).read(columns, use_threads=False)


def first(corpus: Corpus, split: str, count: int) -> list[Row]:
    """The first rows of a split, fewer when its first shard has fewer. Raises UserError when that is damaged."""
    shards = corpus.manifest.splits[split].shards
    return list(read(corpus, shards[0]).slice(0, count).to_pylist()) if shards else []


def fields(row: Row) -> Row:
    """What was kept of the row itself: nothing when the corpus keeps no text."""
    return {name: value for name, value in row.items() if name not in _ADDED}


def shown(row: Row) -> Row:
    """A row to look at: its fields apart from what the build adds, and the number of its tokens for the tokens."""
    added = {name: row[name] for name in ("id", "source", "language", "label")}
    return {**added, "tokens": len(row["input_ids"]), "fields": fields(row)}


def line(row: Row, width: int) -> str:
    """What `shown` gives on one line of at most `width` columns, short fields first."""
    found = sorted(((name, _plain(value)) for name, value in row["fields"].items()), key=lambda field: len(field[1]))
    if not found:
        return cut(f"{row['id']}: {row['tokens']} tokens (the corpus keeps no text)", width)
    *short, (name, text) = found
    start = "".join(f"{name}: {cut(value, width // 3)} | " for name, value in short) + f"{name}: "
    return cut(start + text, width)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ": ".join(map(_plain, value.values()))
    return " ".join(map(_plain, value)) if isinstance(value, list) else str(value)
