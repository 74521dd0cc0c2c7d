"""The order contract: which sample of a stratum is at which position of which pass over it.

Sample g of the global order is row g // C of lane g % C. With C = 4 lanes and shards of 2 rows:

      lane 0   lane 1   lane 2   lane 3
    ┌  0        1        2        3   ┐ shard 0 of each lane
    └  4        5        6        7   ┘
    ┌  8        9       10       11   ┐ shard 1
    └ 12       13                     ┘

A pass permutes the shards of each lane, then the rows within windows of `window_shards` shards, so a pass reads a
lane's files once and holds one window of them. Position p of the pass is row p // C of lane p % C of that permuted
layout. Everything follows from (digest, stratum, seed, pass): workers, their number, batch size and restarts do not
come into it. Which passes an epoch is made of is the mixture's matter (mixture.py).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Order:
    """The order of one stratum of a split under one seed. `digest` is that of the split's samples."""

    digest: str
    seed: int
    samples: int
    lanes: int
    shard_rows: int
    window_shards: int
    stratum: int = 0

    def lane_rows(self, lane: int) -> int:
        """Rows of a lane: equal for all lanes to within one."""
        return (self.samples - lane + self.lanes - 1) // self.lanes

    def lane_shards(self, lane: int) -> int:
        """Shards of a lane; only the last may be short."""
        return -(-self.lane_rows(lane) // self.shard_rows)

    def lane_windows(self, lane: int) -> int:
        """Windows of a lane; only the last may have fewer shards."""
        return -(-self.lane_shards(lane) // self.window_shards)

    def locate(self, number: int, positions: Ints) -> tuple[Ints, Ints, Ints]:
        """(lane, shard, row in the shard) of each position of pass `number`, int64 arrays of the same length.

        Costs a permutation of each touched lane's shard list and of each touched window, at any position alike.
        """
        lanes = positions % self.lanes
        shards, rows = np.empty_like(positions), np.empty_like(positions)
        for lane in np.unique(lanes).tolist():
            in_lane = np.flatnonzero(lanes == lane)
            indices = positions[in_lane] // self.lanes
            windows = self.windows(number, lane, indices)
            for window in np.unique(windows).tolist():
                here = windows == window
                at = in_lane[here]
                shards[at], rows[at] = self.window(number, lane, window).locate(indices[here])
        return lanes, shards, rows

    def windows(self, number: int, lane: int, indices: Ints) -> Ints:
        """The window in which each row of a lane lies, the rows numbered as pass `number` takes them."""
        _, starts = _shuffled_shards(self, number, lane)
        return np.searchsorted(starts[:: self.window_shards], indices, side="right") - 1

    def window(self, number: int, lane: int, window: int) -> Window:
        """One window of a lane in pass `number`."""
        shards, starts = _shuffled_shards(self, number, lane)
        first = window * self.window_shards
        end = min(first + self.window_shards, len(shards))
        return Window(self, number, lane, window, shards[first:end], starts[first : end + 1])


@dataclass(frozen=True, eq=False)
class Window:
    """Neighbouring shards of a lane, in a pass' order of them, whose rows are shuffled with each other."""

    order: Order
    number: int
    lane: int
    window: int
    shards: Ints
    starts: Ints
    """Where each shard starts among the lane's rows, and where the last one ends."""

    def locate(self, indices: Ints) -> tuple[Ints, Ints]:
        """(shard, row in the shard) of rows of the lane that lie in this window."""
        permuted = self.starts[0] + self._rows[indices - self.starts[0]]
        slots = np.searchsorted(self.starts, permuted, side="right") - 1
        return self.shards[slots], permuted - self.starts[slots]

    @cached_property
    def _rows(self) -> Ints:
        return _permutation(
            int(self.starts[-1] - self.starts[0]), self.order, "rows", self.number, self.lane, self.window
        )


@lru_cache(maxsize=4096)
def _shuffled_shards(order: Order, number: int, lane: int) -> tuple[Ints, Ints]:
    """The pass' order of a lane's shards, and where each starts in it (one entry more than shards)."""
    count = order.lane_shards(lane)
    shards = _permutation(count, order, "shards", number, lane)
    sizes = np.full(count, order.shard_rows, np.int64)
    sizes[shards == count - 1] = order.lane_rows(lane) - (count - 1) * order.shard_rows
    return shards, np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])


def _permutation(n: int, order: Order, *what: object) -> Ints:
    """A permutation of range(n) that no release of numpy may change.

    numpy promises the raw stream of a bit generator for ever, but not what `Generator.permutation` makes of it
    (NEP 19); so sort by raw 64-bit numbers. The sort is stable: equal keys cannot make two machines differ.
    """
    # Corpora of one stratum keep the order they had before there were strata.
    stratum = ("stratum", order.stratum) if order.stratum else ()
    key = hashlib.sha256("/".join(map(str, (order.digest, order.seed, *stratum, *what))).encode()).digest()
    raw = np.random.Philox(key=np.frombuffer(key[:16], np.uint64)).random_raw(n)
    return np.argsort(raw, kind="stable").astype(np.int64)
