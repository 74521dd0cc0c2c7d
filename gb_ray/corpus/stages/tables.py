"""Tables between the stages of a build: Arrow files, mapped and not read, so that a slice costs its own rows alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

ID = pa.binary(16)


def write(table: pa.Table, path: Path) -> None:
    """Write an Arrow IPC file, uncompressed."""
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def read(path: Path) -> pa.Table:
    """Map an Arrow IPC file: rows that are not touched are not read."""
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def prefixes(ids: pa.ChunkedArray) -> NDArray[np.uint64]:
    """The first 8 bytes of each id as a number: ids in order of bytes have these in order of value."""
    if len(ids) == 0:
        return np.empty(0, np.uint64)
    array = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
    whole = pa.concat_arrays(array.chunks) if isinstance(array, pa.ChunkedArray) else array
    values = np.frombuffer(whole.buffers()[1], ">u8").reshape(-1, 2)[whole.offset : whole.offset + len(whole), 0]
    return values.astype(np.uint64)


def bounds(bucket: int, buckets: int) -> tuple[int, int]:
    """The prefixes [low, high) of a bucket; together the buckets cover all, in order."""
    return -(-bucket * 2**64 // buckets), -(-(bucket + 1) * 2**64 // buckets)


def slice_of(table: pa.Table, bucket: int, buckets: int) -> pa.Table:
    """The rows of a table in order of id that belong to a bucket."""
    found, (low, high) = prefixes(table["id"]), bounds(bucket, buckets)
    start = int(np.searchsorted(found, np.uint64(low)))
    stop = len(found) if high == 2**64 else int(np.searchsorted(found, np.uint64(high)))
    return table.slice(start, stop - start)


def hexadecimal(ids: pa.ChunkedArray) -> pa.Array:
    """Ids as text of 32 characters."""
    return pa.array([id.hex() for id in pc.cast(ids, pa.binary()).to_pylist()], pa.string())
