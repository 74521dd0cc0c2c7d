"""What a search for near duplicates reads of bucket files: memory-mapped, no more columns and rows than asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gb_ray.corpus.stages import tables


@dataclass(frozen=True)
class Mapped:
    """A bucket file with `id` (fixed_size_binary(16)), `text`, `split` and `bands` (fixed_size_list<uint64>)."""

    table: pa.Table

    @classmethod
    def open(cls, path: Path) -> Mapped:
        """Map a file; only what is used of it is read."""
        return cls(tables.read(path))

    @property
    def band_count(self) -> int:
        """How many keys a row has."""
        return int(self.table.schema.field("bands").type.list_size)

    def ids(self) -> NDArray[np.uint64]:
        """The ids as two numbers that sort as the bytes do: uint64 [rows, 2]."""
        found = [np.empty((0, 2), np.uint64)]
        for chunk in self.table["id"].chunks:
            halves = np.frombuffer(chunk.buffers()[1], ">u8")[2 * chunk.offset : 2 * (chunk.offset + len(chunk))]
            found.append(halves.astype(np.uint64).reshape(-1, 2))
        return np.concatenate(found)

    def keys(self, band: int) -> NDArray[np.uint64]:
        """The keys of one band: uint64 [rows]."""
        found = [chunk.flatten().to_numpy()[band :: self.band_count] for chunk in self.table["bands"].chunks]
        return np.concatenate([np.empty(0, np.uint64), *found])

    def ranks(self, order: tuple[str, ...]) -> NDArray[np.int8]:
        """The place of each row's split in `order`: int8 [rows]."""
        places = pc.index_in(self.table["split"], value_set=pa.array(order, self.table.schema.field("split").type))
        return np.asarray(places.to_numpy(), np.int8)


class Texts:
    """The texts of all buckets by row, counted through the buckets in the order given."""

    def __init__(self, buckets: list[Path]):
        self._chunks = [chunk for path in buckets for chunk in Mapped.open(path).table["text"].chunks]
        self._starts = np.cumsum([0, *(len(chunk) for chunk in self._chunks)])

    def bytes(self) -> NDArray[np.int64]:
        """The length of each text, in bytes of UTF-8: int64 [rows]. Reads no text."""
        found = [pc.binary_length(chunk).to_numpy() for chunk in self._chunks]
        return np.concatenate([np.empty(0, np.int64), *found])

    def take(self, rows: NDArray[np.int64]) -> list[str]:
        """The texts of these rows, which ascend."""
        cuts = np.searchsorted(rows, self._starts)
        found: list[str] = []
        for chunk, start, low, high in zip(self._chunks, self._starts, cuts, cuts[1:], strict=False):
            if low < high:
                found += chunk.take(pa.array(rows[low:high] - start)).to_pylist()
        return found
