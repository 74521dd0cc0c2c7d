"""The order contract: which sample is at which position of which epoch.

Sample g of the global order is row g // C of lane g % C. With C = 4 lanes and shards of 2 rows:

      lane 0   lane 1   lane 2   lane 3
    ┌  0        1        2        3   ┐ shard 0 of each lane
    └  4        5        6        7   ┘
    ┌  8        9       10       11   ┐ shard 1
    └ 12       13                     ┘

An epoch permutes the shards of each lane, then the rows within windows of `window_shards` shards, so an epoch
reads a lane's files once and holds one window of them. Position p of the epoch is row p // C of lane p % C of that
permuted layout. Everything follows from (digest, seed, epoch): workers, their number, batch size and restarts do not
come into it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Order:
    """The order of one split of one corpus under one seed."""

    digest: str
    seed: int
    samples: int
    lanes: int
    shard_rows: int
    window_shards: int

    def lane_rows(self, lane: int) -> int:
        """Rows of a lane: equal for all lanes to within one."""
        return (self.samples - lane + self.lanes - 1) // self.lanes

    def lane_shards(self, lane: int) -> int:
        """Shards of a lane; only the last may be short."""
        return -(-self.lane_rows(lane) // self.shard_rows)

    def locate(self, epoch: int, positions: Ints) -> tuple[Ints, Ints, Ints]:
        """(lane, shard, row in the shard) of each position of an epoch, int64 arrays of the same length.

        Costs a permutation of each touched lane's shard list and of each touched window, at any position alike.
        """
        lanes = positions % self.lanes
        shards, rows = np.empty_like(positions), np.empty_like(positions)
        for lane in np.unique(lanes):
            here = lanes == lane
            shards[here], rows[here] = self._locate_in_lane(epoch, int(lane), positions[here] // self.lanes)
        return lanes, shards, rows

    def _locate_in_lane(self, epoch: int, lane: int, indices: Ints) -> tuple[Ints, Ints]:
        shards, starts = _shuffled_shards(self, epoch, lane)
        windows = np.searchsorted(starts[:: self.window_shards], indices, side="right") - 1
        out_shards, out_rows = np.empty_like(indices), np.empty_like(indices)
        for window in np.unique(windows):
            here = windows == window
            first = int(window) * self.window_shards
            end = min(first + self.window_shards, len(shards))
            permuted = starts[first] + _shuffled_window(self, epoch, lane, int(window))[indices[here] - starts[first]]
            slots = np.searchsorted(starts[: end + 1], permuted, side="right") - 1
            out_shards[here], out_rows[here] = shards[slots], permuted - starts[slots]
        return out_shards, out_rows


@lru_cache(maxsize=4096)
def _shuffled_shards(order: Order, epoch: int, lane: int) -> tuple[Ints, Ints]:
    """The epoch's order of a lane's shards, and where each starts in it (one entry more than shards)."""
    count = order.lane_shards(lane)
    shards = _permutation(count, order, "shards", epoch, lane)
    sizes = np.full(count, order.shard_rows, np.int64)
    sizes[shards == count - 1] = order.lane_rows(lane) - (count - 1) * order.shard_rows
    return shards, np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])


@lru_cache(maxsize=1024)
def _shuffled_window(order: Order, epoch: int, lane: int, window: int) -> Ints:
    """The epoch's order of the rows of one window."""
    _, starts = _shuffled_shards(order, epoch, lane)
    first = window * order.window_shards
    end = min(first + order.window_shards, len(starts) - 1)
    return _permutation(int(starts[end] - starts[first]), order, "rows", epoch, lane, window)


def _permutation(n: int, order: Order, *what: object) -> Ints:
    """A permutation of range(n) that no release of numpy may change.

    numpy promises the raw stream of a bit generator for ever, but not what `Generator.permutation` makes of it
    (NEP 19); so sort by raw 64-bit numbers. The sort is stable: equal keys cannot make two machines differ.
    """
    key = hashlib.sha256("/".join(map(str, (order.digest, order.seed, *what))).encode()).digest()
    raw = np.random.Philox(key=np.frombuffer(key[:16], np.uint64)).random_raw(n)
    return np.argsort(raw, kind="stable").astype(np.int64)
