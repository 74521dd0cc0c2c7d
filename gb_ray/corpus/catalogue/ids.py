"""The ids of a corpus, to find rows of one in another: 16 bytes a row in memory, whatever the rows are."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gb_ray.corpus.catalogue import rows
from gb_ray.corpus.corpus import Corpus
from gb_ray.corpus.manifest import Shard

Ids = NDArray[np.bytes_]
"""S16 [rows]. numpy takes zeros at the end for padding; as all ids are 16 bytes that mixes up no two of them."""
CHUNK = 1 << 16
"""Ids that are looked for at once: their places take 8 bytes each."""


def read(corpus: Corpus, seen: Callable[[int], None]) -> dict[str, Ids]:
    """The ids of each split, sorted; `seen` is told the number of rows of each shard that was read.

    Of a shard only the column `id` is decoded, after its sha256 was verified. Raises UserError when one is damaged.
    """
    found = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, split in corpus.manifest.splits.items():
            ids, first = np.empty(split.samples, "S16"), 0
            for part in pool.map(lambda shard: of_shard(corpus, shard), split.shards):
                ids[first : first + len(part)] = part
                first += len(part)
                seen(len(part))
            ids.sort()
            found[name] = ids
    return found


def of_shard(corpus: Corpus, shard: Shard) -> Ids:
    """The ids of a shard, in its order. Raises UserError when it is damaged."""
    return binary(rows.read(corpus, shard, ["id"])["id"])


def binary(column: pa.ChunkedArray) -> Ids:
    """Ids of 32 hexadecimal digits as 16 bytes."""
    digits = np.frombuffer("".join(column.to_pylist()).encode(), np.uint8).reshape(-1, 16, 2)
    values = (digits & 15) + 9 * (digits >> 6)  # 0 to 9 are 0x30 and on, a to f 0x61 and on
    return (values[:, :, 0] << 4 | values[:, :, 1]).view("S16").ravel()


def within(ids: Ids, of: Ids) -> NDArray[np.bool_]:
    """Which of `ids` are among `of`, which is sorted."""
    if not len(of):
        return np.zeros(len(ids), bool)
    places = np.searchsorted(of, ids)
    return of[np.minimum(places, len(of) - 1)] == ids


def common(ids: Ids, of: Ids) -> int:
    """How many of `ids` are among `of`, which is sorted."""
    return sum(int(within(ids[start : start + CHUNK], of).sum()) for start in range(0, len(ids), CHUNK))
