"""Near duplicates of a whole corpus, and the leaks among them: rows to train on that nearly repeat a row that tests.

    bands of every bucket ─▶ one task a band and key range ─▶ candidate pairs, by row ─▶ exact Jaccard ─▶ clusters
                             sorts keys, pairs up equal ones                             one task a part    the driver

Memory, for a band task of M = `TASK_ROWS` rows: 28 bytes a row for row, id and two keys and about 40 to sort them,
then 9 pairs of 8 bytes for each row that shares a key, twice over while they are made unique. M = 6 million is 0.4 GB,
and 1.3 GB should every row share its key; a corpus of more rows has more such tasks. A task that verifies holds
16 bytes a row of the corpus, its pairs, and the shingles of `TASK_BYTES` of text (of one pair at least). The driver
holds 50 bytes a row and 100 more for each row of a cluster: 5 million rows are 0.25 GB to 0.75 GB.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import ray
from numpy.typing import NDArray

from gb_ray.corpus.near import lsh
from gb_ray.corpus.near.mapped import Mapped, Texts
from gb_ray.corpus.near.shingles import distinct, jaccard, sets

STAYS, NEAR_DUPLICATE, LEAK = 0, 1, 2
PROTECTED = ("test", "validation", "train")
"""Of a cluster's rows one of the first of these splits stays."""

EXAMPLES = 20
TASK_ROWS = 6_000_000
TASK_BYTES = 8_000_000
PART_ROWS = 65_536

_HALF = np.uint64(32)


@dataclass(frozen=True)
class Example:
    """A row that goes and the row of its cluster that stays: their ids (hex), and how alike they are (Jaccard)."""

    removed: str
    kept: str
    jaccard: float


@dataclass(frozen=True)
class Removed:
    """What becomes of each row of each bucket (int8: STAYS, NEAR_DUPLICATE or LEAK), and some pairs to look at.

    The examples are those with the smallest ids of removed rows. A row may be less like the one that stays than the
    threshold, when rows between them link the two.
    """

    flags: list[NDArray[np.int8]]
    examples: list[Example]


def find(buckets: list[Path], threshold: float, mode: Literal["remove", "leaks"]) -> Removed:
    """Cluster rows whose shingles have a Jaccard similarity of `threshold` or more, and say which of them go.

    buckets: files as `mapped.Mapped` describes them, together the corpus, no id twice; `bands` is what `lsh.bands`
    gives for the same threshold, `split` is train, validation or test.
    mode: "remove" leaves one row of each cluster: of the most protected split, then of the smallest id. "leaks" removes
    no more than what a row of a more protected split in its cluster forbids: train for validation and test, validation
    for test. Ray must be up. The result is decided by the rows and the threshold, not by buckets or tasks.
    """
    opened = [Mapped.open(path) for path in buckets]
    starts = np.cumsum([0, *(len(bucket.table) for bucket in opened)])
    forest = Forest(int(starts[-1]))
    if starts[-1]:
        for pairs in _similar(buckets, int(starts[-1]), opened[0].band_count, threshold):
            for one, other in pairs.tolist():
                forest.join(one, other)
    rows, roots = forest.clusters()
    ids = np.concatenate([np.empty((0, 2), np.uint64), *(bucket.ids() for bucket in opened)])[rows]
    ranks = np.concatenate([np.empty(0, np.int8), *(bucket.ranks(PROTECTED) for bucket in opened)])[rows]
    order = np.lexsort((ids[:, 1], ids[:, 0], ranks, roots))
    rows, roots, ids, ranks = rows[order], roots[order], ids[order], ranks[order]
    stays = np.searchsorted(roots, roots)  # the place of the first of its cluster
    outcome = np.where(ranks > ranks[stays], LEAK, NEAR_DUPLICATE)
    outcome[stays] = STAYS
    if mode == "leaks":
        outcome[outcome == NEAR_DUPLICATE] = STAYS
    flags = np.zeros(starts[-1], np.int8)
    flags[rows] = outcome
    gone = np.flatnonzero(outcome)
    gone = gone[np.lexsort((ids[gone, 1], ids[gone, 0]))][:EXAMPLES]
    texts = Texts(buckets)
    examples = [_example(texts, rows[[place, stays[place]]], ids[[place, stays[place]]]) for place in gone]
    return Removed(np.split(flags, starts[1:-1]) if buckets else [], examples)


class Forest:
    """Clusters of the rows 0 to `rows` - 1, joined pair by pair: 8 bytes a row."""

    def __init__(self, rows: int):
        self._parent = array("q")
        self._parent.frombytes(np.arange(rows, dtype=np.int64).tobytes())

    def root(self, row: int) -> int:
        """The same row for all rows of a cluster."""
        parent = self._parent
        while parent[row] != row:
            parent[row] = row = parent[parent[row]]
        return row

    def join(self, one: int, other: int) -> None:
        """Make the clusters of two rows one."""
        one, other = self.root(one), self.root(other)
        self._parent[max(one, other)] = min(one, other)

    def clusters(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The rows that are not alone in their cluster, and the root of each: int64 [n] twice."""
        parent = np.array(self._parent, np.int64)
        while (parent[parent] != parent).any():
            parent = parent[parent]
        rows = np.flatnonzero(np.bincount(parent, minlength=len(parent))[parent] > 1)
        return rows, parent[rows]


def _similar(buckets: list[Path], rows: int, bands: int, threshold: float) -> list[NDArray[np.int64]]:
    """Pairs of rows at the threshold or above, [n, 2] of each part: as many as link every cluster."""
    ranges = -(-rows // TASK_ROWS)
    # Never less than two parts, because Ray does not unpack a tuple of one.
    cuts = np.arange(PART_ROWS, max(rows, PART_ROWS + 1), PART_ROWS, dtype=np.uint64) << _HALF
    task = _candidates.options(num_returns=len(cuts) + 1)
    parts = [task.remote(buckets, band, slot, ranges, cuts) for band in range(bands) for slot in range(ranges)]
    found = [_verify.remote(buckets, threshold, *part) for part in zip(*parts, strict=True)]
    del parts  # Ray frees the candidates of a part as soon as they are verified
    similar: list[NDArray[np.int64]] = ray.get(found)
    return similar


@ray.remote(num_cpus=1)
def _candidates(
    buckets: list[Path], band: int, slot: int, ranges: int, cuts: NDArray[np.uint64]
) -> tuple[NDArray[np.uint64], ...]:
    """The candidates of one band whose keys are in one of so many equal ranges, cut at `cuts`."""
    found, start = [], 0
    for bucket in map(Mapped.open, buckets):
        keys = bucket.keys(band)
        mine = np.flatnonzero((keys >> _HALF) * np.uint64(ranges) >> _HALF == slot)
        others = bucket.keys((band + 1) % bucket.band_count)[mine]
        found.append(((mine + start).astype(np.uint32), bucket.ids()[mine, 0], keys[mine], others))
        start += len(keys)
    packed = lsh.pairs(*(np.concatenate(column) for column in zip(*found, strict=True)))
    return tuple(np.split(packed, np.searchsorted(packed, cuts)))


@ray.remote(num_cpus=1)
def _verify(buckets: list[Path], threshold: float, *candidates: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The candidates at the threshold or above, [n, 2], but for those that other ones link already."""
    packed = distinct(np.concatenate(candidates))
    pairs = np.stack([packed >> _HALF, packed & np.uint64(0xFFFFFFFF)], axis=1).astype(np.int64)
    texts = Texts(buckets)
    lengths = texts.bytes()
    forest = Forest(len(lengths))
    size = np.cumsum(lengths[pairs].sum(axis=1))
    similar = []
    for chunk in np.split(pairs, np.flatnonzero(np.diff(size // TASK_BYTES)) + 1):
        unlinked = [(one, other) for one, other in chunk.tolist() if forest.root(one) != forest.root(other)]
        rows = np.unique(np.array(unlinked, np.int64))
        of = dict(zip(rows.tolist(), sets(texts.take(rows)), strict=True))
        for one, other in unlinked:
            if forest.root(one) != forest.root(other) and jaccard(of[one], of[other]) >= threshold:
                forest.join(one, other)
                similar.append((one, other))
    return np.array(similar, np.int64).reshape(-1, 2)


def _example(texts: Texts, rows: NDArray[np.int64], ids: NDArray[np.uint64]) -> Example:
    """`rows` and `ids` [2, 2] of the row that goes and of the one that stays."""
    gone, kept = (sets(texts.take(rows[[place]]))[0] for place in range(2))
    removed, stays = (id.astype(">u8").tobytes().hex() for id in ids)
    return Example(removed, stays, jaccard(gone, kept))
