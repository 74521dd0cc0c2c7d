"""An epoch of a new corpus with samples of an old one among them, evenly.

An epoch has the N samples that the new corpus draws and R of the old one, whose share R / (N + R) is the one asked for
to within one sample. Of the first p positions floor(p * N / (N + R) + 1/2) are the new corpus', so that any stretch has
its share to within one sample (see mixture.py). Epoch e takes the samples [e * R, (e + 1) * R) of the endless stream of
the old corpus' own epochs: none comes again before all have come, if its sources have one weight.

Everything follows from the two orders and the position: the number of workers does not come into it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gb_ray.corpus.reading.mixture import share as share_of
from gb_ray.corpus.reading.reader import Reader, Sample


def drawn(samples: int, share: float) -> int:
    """Old samples in an epoch with this many new ones; at least one, if any are asked for."""
    return max(1, round(samples * share / (1 - share))) if share else 0


class Replay:
    """What a Reader is, over new corpora and old ones; both readers are those of one worker.

    `relabel` gives an old sample the label that it has in the new corpus.
    """

    def __init__(self, new: Reader, old: Reader, share: float, relabel: Callable[[Sample], Any]):
        self._new, self._old, self._relabel = new, old, relabel
        self._drawn = drawn(new.samples_per_epoch, share)

    @property
    def samples_per_epoch(self) -> int:
        """Of all workers together: the positions of an epoch are range(samples_per_epoch)."""
        return self._new.samples_per_epoch + self._drawn

    def step(self, epoch: int, start: int, stop: int) -> list[Sample]:
        """This worker's samples at positions [start, stop) of an epoch: the new ones, then the old ones.

        Raises as Reader.step does.
        """
        before, after = self._new_before(start), self._new_before(min(stop, self.samples_per_epoch))
        found = self._new.step(epoch, before, after)
        first = epoch * self._drawn
        for number, begin, end in self._passes(
            first + start - before, first + min(stop, self.samples_per_epoch) - after
        ):
            old = self._old.step(number, begin, end)
            found += [sample._replace(label=self._relabel(sample)) for sample in old]
        return found

    def close(self) -> None:
        """End both readers' threads."""
        self._new.close()
        self._old.close()

    def _new_before(self, position: int) -> int:
        new = self._new.samples_per_epoch
        return int(share_of(np.array([position], np.int64), new, self.samples_per_epoch)[0])

    def _passes(self, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """(epoch of the old corpus, first position, last position + 1) of a stretch of its stream."""
        size = self._old.samples_per_epoch
        for number in range(start // size, -(-stop // size)):
            yield number, max(start - number * size, 0), min(stop - number * size, size)
