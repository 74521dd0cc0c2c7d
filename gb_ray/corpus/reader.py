"""A worker's view of a split: the samples of a step that lie in its lanes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gb_ray.corpus.manifest import Corpus


@dataclass(frozen=True)
class Sample:
    """One sample. `input_ids` is int32 [tokens]; `label` an int, or int32 [tokens] with -100 where nothing is asked."""

    id: str
    input_ids: NDArray[np.int32]
    label: int | NDArray[np.int32]


class Reader:
    """Reads a split as worker `worker` of `workers`: lane l belongs to worker l % workers.

    Shards are memory-mapped and decoded whole; the cache holds one window of each own lane, whatever the corpus' size.
    """

    def __init__(self, corpus: Corpus, split: str, seed: int, worker: int = 0, workers: int = 1):
        self.order = corpus.order(split, seed)
        self.worker, self.workers = worker, workers
        self._corpus, self._shards = corpus, corpus.manifest.splits[split].shards
        own = len(range(worker, self.order.lanes, workers))
        self._room = max(1, own * (self.order.window_shards + 1))
        self._cache: OrderedDict[tuple[int, int], _Decoded] = OrderedDict()

    def step(self, epoch: int, start: int, stop: int) -> list[Sample]:
        """This worker's samples at positions [start, stop) of an epoch, in order of position."""
        positions = np.arange(start, min(stop, self.order.samples), dtype=np.int64)
        mine = positions[(positions % self.order.lanes) % self.workers == self.worker]
        lanes, shards, rows = self.order.locate(epoch, mine)
        return [
            self._shard(int(lane), int(shard)).sample(int(row))
            for lane, shard, row in zip(lanes, shards, rows, strict=True)
        ]

    def once(self) -> Iterator[Sample]:
        """Every sample of this worker's lanes, once, in the order on disk: for evaluation."""
        for lane in range(self.worker, self.order.lanes, self.workers):
            for shard in range(len(self._shards[lane])):
                decoded = self._shard(lane, shard)
                yield from (decoded.sample(row) for row in range(len(decoded)))

    def _shard(self, lane: int, shard: int) -> _Decoded:
        key = (lane, shard)
        if key not in self._cache:
            self._cache[key] = _Decoded(
                pq.read_table(self._corpus.path / self._shards[lane][shard].path, memory_map=True)
            )
            if len(self._cache) > self._room:
                self._cache.popitem(last=False)
        self._cache.move_to_end(key)
        return self._cache[key]


class _Decoded:
    """A shard as flat arrays: a sample is a slice, not a Python list."""

    def __init__(self, table: pa.Table):
        self._ids = table["id"].to_pylist()
        self._tokens = _Lists(table["input_ids"])
        label = table["label"]
        self._labels: Any = _Lists(label) if pa.types.is_list(label.type) else label.to_numpy()

    def __len__(self) -> int:
        return len(self._ids)

    def sample(self, row: int) -> Sample:
        label = self._labels[row]
        return Sample(self._ids[row], self._tokens[row], label if isinstance(label, np.ndarray) else int(label))


class _Lists:
    def __init__(self, column: pa.ChunkedArray):
        array = column.combine_chunks()
        if isinstance(array, pa.ChunkedArray):
            array = pa.concat_arrays(array.chunks)
        self._values, self._offsets = array.values.to_numpy(), array.offsets.to_numpy()

    def __getitem__(self, row: int) -> NDArray[np.int32]:
        return self._values[self._offsets[row] : self._offsets[row + 1]]
