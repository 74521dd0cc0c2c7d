"""The order of an epoch: the strata of a split, each as often as its weight says, evenly interleaved.

Stratum k has N samples and weight w. An epoch takes E = round(w * N) of them from the stratum's own endless stream:
its passes, one after the other, each in an order of its own (order.py). Element i of the stream is position i % N of
pass i // N, and epoch e takes the elements [e * E, (e + 1) * E). So with weight 1 an epoch sees each sample once, with
weight 2 twice, and with weight 0.5 every second epoch sees a sample.

The strata are interleaved by splitting off one after the other, the largest first. Of the first p positions,

    n(p) = floor(p * E / T + 1/2)        T: what is left of the epoch when this stratum's turn comes

are its own; the others are positions 0, 1, 2... of what is left. n(p) is exact at every p without a table, and its
increments form a balanced word: any stretch of L positions has floor(L * E / T) or ceil(L * E / T) of the stratum
(Lothaire, Algebraic Combinatorics on Words, 2002, section 2.1.2). Hence, for any stretch, the number of samples of a
stratum differs from the share it has of the whole epoch by less than

    1                           for one of two strata, and for the largest of several
    1 + s * d, d' = 1 + (1 - s) * d  for those after it; s is its share of what was left, d begins with 1

which is less than 2 for three strata. Less than 1 for each of three is more than any order can do: 8, 2 and 1 samples,
for example, have no order in which every stretch is that even.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gb_ray.corpus.manifest import Manifest
from gb_ray.corpus.reading.order import Ints, Order


@dataclass(frozen=True)
class Mixture:
    """The epochs of a split: `drawn[k]` samples an epoch from the stratum with order `orders[k]`."""

    orders: tuple[Order, ...]
    drawn: tuple[int, ...]

    @classmethod
    def of(cls, manifest: Manifest, split: str, seed: int) -> Mixture:
        """The epochs of a split of a corpus under a seed: the same wherever the files of its sources lie."""
        entry, layout = manifest.splits[split], (manifest.lanes, manifest.shard_rows, manifest.window_shards)
        digest = entry.samples_digest
        orders = tuple(Order(digest, seed, s.samples, *layout, stratum=k) for k, s in enumerate(entry.strata))
        return cls(orders, tuple(stratum.drawn for stratum in entry.strata))

    @classmethod
    def joined(cls, mixtures: list[Mixture]) -> Mixture:
        """The strata of several corpora as those of one: each keeps its own streams."""
        return cls(
            tuple(order for mixture in mixtures for order in mixture.orders),
            tuple(drawn for mixture in mixtures for drawn in mixture.drawn),
        )

    @property
    def samples(self) -> int:
        """Samples an epoch."""
        return sum(self.drawn)

    def draw(self, epoch: int, positions: Ints) -> tuple[Ints, Ints]:
        """(stratum, element of the stratum's stream) at each position of an epoch, int64 arrays."""
        strata, elements = np.empty_like(positions), np.empty_like(positions)
        at, left = np.arange(len(positions)), self.samples
        for k in sorted(range(len(self.drawn)), key=lambda k: -self.drawn[k]):
            before = share(positions, self.drawn[k], left)
            own = share(positions + 1, self.drawn[k], left) > before
            strata[at[own]], elements[at[own]] = k, before[own] + epoch * self.drawn[k]
            at, positions = at[~own], (positions - before)[~own]
            left -= self.drawn[k]
            if not len(at):
                break
        return strata, elements

    def locate(self, epoch: int, positions: Ints) -> tuple[Ints, Ints, Ints, Ints]:
        """(stratum, lane, shard, row in the shard) of each position of an epoch, int64 arrays of the same length."""
        strata, elements = self.draw(epoch, positions)
        lanes, shards, rows = (np.empty_like(positions) for _ in range(3))
        for k in np.unique(strata).tolist():
            order = self.orders[k]
            passes = elements // order.samples
            for number in np.unique(passes[strata == k]).tolist():
                here = (strata == k) & (passes == number)
                lanes[here], shards[here], rows[here] = order.locate(number, elements[here] - number * order.samples)
        return strata, lanes, shards, rows


def share(positions: Ints, drawn: int, left: int) -> Ints:
    """floor(positions * drawn / left + 1/2), exact while all numbers are at most 2**41.

    The product would not fit: positions = high * 2**20 + low, and the remainder of high's part goes into low's.
    """
    if drawn == left:
        return positions
    whole, rest = np.divmod((positions >> 20) * drawn, left)
    low, rest = np.divmod((rest << 20) + (positions & 0xFFFFF) * drawn, left)
    return (whole << 20) + low + (2 * rest >= left)
