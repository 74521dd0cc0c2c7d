"""Second stage of a build: the global shuffle, exact duplicates out, splits.

A row's id is a hash of its content, so order by id is a shuffle, brings duplicates together, and is the same whatever
the machines did. A bucket holds a range of ids:

    part 0  ├──────┬──────┬──────┤       each part is in order of id:
    part 1  ├──────┬──────┬──────┤       a bucket is a slice of every part
              bucket 0   1      2
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gb_ray.corpus.encoder import Encoder
from gb_ray.corpus.stages import tables
from gb_ray.corpus.stages.split import Cuts
from gb_ray.corpus.stages.stage import Result

PREFERENCE = {"test": 0, "validation": 1, "train": 2}
"""Of equal rows in different splits the earlier of these stays: what is tested on is not trained on."""
FILE = "bucket.arrow"
ROWS, BYTES = 10_000, 8 << 20
"""The most a bucket should hold."""


@dataclass(frozen=True)
class Part:
    """Rows of one source, in order of id."""

    path: Path
    source: int


@dataclass(frozen=True)
class Bucket:
    """Number `number` of `of` equal ranges of ids."""

    number: int
    of: int
    parts: list[Part]
    encoder: Encoder
    cuts: Cuts

    @property
    def name(self) -> str:
        """See stage.Item."""
        return f"bucket-{self.number:05d}"


def count(rows: int, size: int) -> int:
    """How many buckets hold so many rows of so many bytes. The corpus does not depend on it."""
    return max(1, -(-rows // ROWS), -(-size // BYTES))


def merge(bucket: Bucket, folder: Path) -> Result:
    """Write the bucket's rows in order of id, one of each, with their split."""
    slices = [_slice(part, bucket) for part in bucket.parts]
    table = pa.concat_tables(slices).combine_chunks()
    looked_at = table.select(["split", *bucket.cuts.columns]).to_pylist()
    split = pa.array([row["split"] or bucket.cuts.split(row) for row in looked_at], pa.string())
    table = table.set_column(table.schema.get_field_index("split"), "split", split)
    table = table.take(pc.sort_indices(table.append_column("rank", _ranks(split)), sort_keys=_KEYS))
    kept, conflicting = _first_of_each(table)
    unique = table.filter(pa.array(kept))
    labels: set[str] = set()
    for row in unique.select(bucket.encoder.fields.names).to_pylist():
        labels |= bucket.encoder.labels_of(row)
    tables.write(unique, folder / FILE)
    removed = len(table) - len(unique)
    return {"rows": len(unique), "duplicates": removed, "conflicting": conflicting, "labels": sorted(labels)}


_KEYS = [(name, "ascending") for name in ("id", "rank", "source", "row")]


def _slice(part: Part, bucket: Bucket) -> pa.Table:
    table = tables.slice_of(tables.read(part.path), bucket.number, bucket.of)
    return table.append_column("source", pa.array(np.full(len(table), part.source, np.int32)))


def _ranks(split: pa.Array) -> pa.Array:
    return pa.array([PREFERENCE[name] for name in split.to_pylist()], pa.int8())


def _first_of_each(table: pa.Table) -> tuple[Any, int]:
    """Which rows are the first with their id, and how many others differ from theirs in more than their place."""
    ids = np.array(table["id"].to_pylist(), dtype=object)
    first = np.concatenate([np.ones(min(1, len(ids)), bool), ids[1:] != ids[:-1]])
    kept = np.maximum.accumulate(np.where(first, np.arange(len(ids)), 0)) if len(ids) else np.empty(0, int)
    again = np.flatnonzero(~first)
    place = ("id", "source", "row", "split", "language", "key", "bands", "before", "after")
    fields = [name for name in table.column_names if name not in place]
    others, stayed = (table.take(pa.array(rows)).select(fields).to_pylist() for rows in (again, kept[again]))
    return first, sum(one != other for one, other in zip(others, stayed, strict=True))


def tally(results: list[Result]) -> tuple[list[str], Counter[str]]:
    """All labels, and the sums of rows, duplicates and conflicting ones."""
    labels = set().union(*(result["labels"] for result in results))
    sums = Counter({what: sum(result[what] for result in results) for what in ("rows", "duplicates", "conflicting")})
    return sorted(labels, key=_natural), sums


def _natural(label: str) -> tuple[int, float, str]:
    """Numbers in order of value (7 and 07 by their text) before words in order of the alphabet, `O` first of those."""
    return (0, float(label), label) if label.isdecimal() else (1, 0.0, "" if label == "O" else label)
