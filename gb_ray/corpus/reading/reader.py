"""A worker's view of a split: the samples of a step that lie in its lanes."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gb_ray.corpus.corpus import Corpus
from gb_ray.corpus.manifest import Shard
from gb_ray.corpus.reading.ahead import Ahead
from gb_ray.corpus.reading.fetch import fetch
from gb_ray.corpus.reading.loader import Loader
from gb_ray.corpus.reading.mixture import Mixture
from gb_ray.corpus.reading.order import Ints

CHUNK = 4096
"""Own samples that are laid out at once: enough that what a chunk costs whatever its size does not show."""
REMOTE_THREADS = 8
"""A store answers in tens of milliseconds, a disk in less than the decoding of what it gives."""


class Sample(NamedTuple):
    """One sample. `input_ids` is int32 [tokens].

    `label` is an int; or int32 [tokens], -100 where nothing is asked; or float32 [values] to be regressed; or int64
    numbers of a pair (tasks/embedding.py). `task` is the number of its corpus among those that are read together.
    """

    id: str
    input_ids: NDArray[np.int32]
    label: int | NDArray[np.int32] | NDArray[np.int64] | NDArray[np.float32]
    task: int = 0


class Reader:
    """Reads a split as worker `worker` of `workers`: lane l of every stratum belongs to worker l % workers.

    Of several corpora, one a task, it mixes the strata of all as those of one are mixed (mixture.py): each sample comes
    as often as its source's weight says, and every stretch of an epoch has each stratum's share.

    Nothing but the arguments decides what `step` returns; what was read before only decides how soon. While the
    caller works on one window of a lane, a thread fetches, verifies and decodes the next. So there are at most two
    windows of each own lane in memory, in total

        2 * strata * own lanes * window_shards * shard_rows * (44 + 4 * tokens a sample) bytes

    (and 4 more a token where each token has a label): with the default layout 5 MB a lane for 24 tokens, 69 MB for 512.
    On top come one window while it is decoded and the last `CHUNK` samples. A window whose shards are those of the
    window after it, as in every small corpus, stays and is not read again.

    Arrays of samples are parts of larger ones and read-only: who keeps a sample for long should copy it.

    The thread ends with `close`, at the end of a `with` block, or when the reader is no longer referred to.
    """

    def __init__(self, corpus: Corpus | list[Corpus], split: str, seed: int, worker: int = 0, workers: int = 1):
        corpora = corpus if isinstance(corpus, list) else [corpus]
        self._mixture = Mixture.joined([Mixture.of(one.manifest, split, seed) for one in corpora])
        self._worker, self._workers = worker, workers
        self._strata = [
            _Stratum(one.folder, stratum.shards, task)
            for task, one in enumerate(corpora)
            for stratum in one.manifest.splits[split].strata
        ]
        local = all(isinstance(one.folder, Path) for one in corpora)
        self._loader = Loader(1 if local else REMOTE_THREADS)
        self._lanes: dict[tuple[int, int], Ahead] = {}
        self._chunk = _Chunk(-1, -1, [], [])

    @property
    def samples_per_epoch(self) -> int:
        """Of all workers together: the positions of an epoch are range(samples_per_epoch)."""
        return self._mixture.samples

    def step(self, epoch: int, start: int, stop: int) -> list[Sample]:
        """This worker's samples at positions [start, stop) of an epoch, in order of position.

        Raises DamagedCorpus when a shard is not the one that was built, `remote.Unreachable` or OSError when it
        cannot be read, and tries again when called again.
        """
        size, found = CHUNK * self._workers, list[Sample]()
        for number in range(start // size, -(-min(stop, self.samples_per_epoch) // size)):
            if (self._chunk.epoch, self._chunk.number) != (epoch, number):
                self._chunk = self._read(epoch, number)
            positions = self._chunk.positions
            found += self._chunk.samples[bisect_left(positions, start) : bisect_left(positions, stop)]
        return found

    def once(self) -> Iterator[Sample]:
        """Every sample of this worker's lanes, once whatever its weight, in the order on disk: for evaluation."""
        own = ((of, lane) for of in self._strata for lane in of.shards[self._worker :: self._workers])
        ahead = deque[tuple[int, Future[pa.Table]]]()
        for of, shard in ((of, shard) for of, lane in own for shard in lane):
            ahead.append((of.task, self._loader.submit(partial(fetch, of.folder, shard))))
            if len(ahead) > 1:
                yield from _fetched(*ahead.popleft())
        while ahead:
            yield from _fetched(*ahead.popleft())

    def close(self) -> None:
        """End the thread."""
        self._loader.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, epoch: int, number: int) -> _Chunk:
        size = CHUNK * self._workers
        positions = np.arange(number * size, min((number + 1) * size, self.samples_per_epoch), dtype=np.int64)
        strata, elements = self._mixture.draw(epoch, positions)
        parts = [part for k in np.unique(strata).tolist() for part in self._parts(k, strata == k, elements)]
        for part in parts:  # what is needed now, of all lanes, goes before what comes after it
            part.lane.begin(self._loader, part.number, int(part.rows[0]))
        samples, places = list[Sample](), [np.empty(0, np.int64)]
        for part in parts:
            for inside, table in part.lane.take(self._loader, part.number, part.rows):
                samples += _samples(table, part.task)
                places.append(part.places[inside])
        where = np.concatenate(places)
        order = np.argsort(where)
        return _Chunk(epoch, number, positions[where[order]].tolist(), [samples[i] for i in order.tolist()])

    def _parts(self, k: int, here: NDArray[np.bool_], elements: Ints) -> Iterator[_Part]:
        """The rows of own lanes among those of stratum k in a chunk."""
        order, of = self._mixture.orders[k], self._strata[k]
        places = np.flatnonzero(here)
        numbers, positions = np.divmod(elements[places], order.samples)
        lanes, rows = positions % order.lanes, positions // order.lanes
        mine = lanes % self._workers == self._worker
        for number, lane in sorted(set(zip(numbers[mine].tolist(), lanes[mine].tolist(), strict=True))):
            if (k, lane) not in self._lanes:
                self._lanes[k, lane] = Ahead(of.folder, of.shards[lane], order, lane)
            part = (numbers == number) & (lanes == lane)
            yield _Part(self._lanes[k, lane], number, places[part], rows[part], of.task)


class _Stratum(NamedTuple):
    """Where a stratum lies, `shards[lane][s]`, and the number of its corpus."""

    folder: Path | str
    shards: list[list[Shard]]
    task: int


class _Part(NamedTuple):
    """Rows of one lane in one pass, and their places in a chunk."""

    lane: Ahead
    number: int
    places: Ints
    rows: Ints
    task: int


class _Chunk(NamedTuple):
    """The own samples among `CHUNK * workers` positions of an epoch."""

    epoch: int
    number: int
    positions: list[int]
    samples: list[Sample]


def _fetched(task: int, table: Future[pa.Table]) -> list[Sample]:
    return _samples(table.result(), task)


def _samples(table: pa.Table, task: int) -> list[Sample]:
    make = partial(tuple.__new__, Sample)
    return [
        sample
        for batch in table.to_batches()
        for sample in map(make, zip(*map(_values, batch), [task] * len(batch), strict=True))
    ]


def _values(column: pa.Array) -> list[Any]:
    """One Python value a row: of a list column an array that is a part of the column's own memory."""
    if not pa.types.is_list(column.type):
        return list(column.to_numpy(zero_copy_only=False).tolist())
    values, edges = column.values.to_numpy(), column.offsets.to_numpy().tolist()
    return [values[start:stop] for start, stop in pairwise(edges)]
