"""Second stage of a build: the global shuffle, and exact duplicates out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray

PREFERENCE = {"test": 0, "validation": 1, "train": 2, None: 2}
"""Of two equal rows in different given splits the earlier of these stays: what is tested on is not trained on."""


@dataclass(frozen=True)
class Block:
    """A table in Ray's object store."""

    ref: Any
    rows: int


@dataclass(frozen=True)
class Duplicates:
    """Rows removed, and how many of them had another label than the row that stayed."""

    removed: int
    conflicting: int


def unique(rows: Any) -> tuple[list[Block], Duplicates]:
    """The usable rows of a dataset in order of id, one of each."""
    usable = rows.map_batches(_usable, batch_format="pyarrow", batch_size=None)
    ordered = usable.sort("id").materialize()
    outcomes = [_deduplicate.remote(*group) for group in _groups(ordered.to_arrow_refs())]
    found = ray.get([info for _, info in outcomes])
    blocks = [Block(ref, rows) for (ref, _), (rows, _, _) in zip(outcomes, found, strict=True)]
    return blocks, Duplicates(sum(removed for _, removed, _ in found), sum(other for _, _, other in found))


def _usable(table: pa.Table) -> pa.Table:
    return table.filter(pc.is_null(table["reason"])).drop_columns(["reason", "excerpt"])


def _groups(refs: list[Any]) -> list[list[Any]]:
    """Blocks to deduplicate together: neighbours that share an id, so that no duplicate hides on a block's edge."""
    groups: list[list[Any]] = []
    last = ""
    for ref, edge in zip(refs, ray.get([_edges.remote(ref) for ref in refs]), strict=True):
        if edge is None:
            continue
        if edge[0] < last:
            raise RuntimeError("the sorted blocks are out of order")
        if edge[0] == last:
            groups[-1].append(ref)
        else:
            groups.append([ref])
        last = edge[1]
    return groups


@ray.remote
def _edges(table: pa.Table) -> tuple[str, str] | None:
    return (table["id"][0].as_py(), table["id"][-1].as_py()) if len(table) else None


@ray.remote(num_returns=2)
def _deduplicate(*tables: pa.Table) -> tuple[pa.Table, tuple[int, int, int]]:
    """(table without duplicates, (its rows, rows removed, removed with another label))."""
    table = pa.concat_tables(tables)
    rank = pa.array([PREFERENCE[split] for split in table["split"].to_pylist()], pa.int8())
    by = [(name, "ascending") for name in ("id", "rank", "source", "row")]
    table = table.take(pc.sort_indices(table.append_column("rank", rank), sort_keys=by))
    ids = np.array(table["id"].to_pylist(), dtype=object)
    first = np.concatenate([[True], ids[1:] != ids[:-1]])
    kept = np.maximum.accumulate(np.where(first, np.arange(len(ids)), 0))
    again = np.flatnonzero(~first)
    fields = [name for name in table.column_names if name not in ("id", "source", "row", "split")]
    pairs = zip(
        table.take(again).select(fields).to_pylist(), table.take(kept[again]).select(fields).to_pylist(), strict=True
    )
    return table.filter(pa.array(first)), (int(first.sum()), len(again), sum(one != other for one, other in pairs))
