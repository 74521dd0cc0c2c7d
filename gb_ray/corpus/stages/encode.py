"""Fourth stage of a build: the rows that stayed become samples."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gb_ray.corpus.encoder import Encoder
from gb_ray.corpus.manifest import SPLITS
from gb_ray.corpus.stages import tables
from gb_ray.corpus.stages.stage import Result
from gb_ray.corpus.stages.strata import Pieces

FILE = "samples.arrow"
CHUNK_ROWS = 4096
APART = 2**40
"""More than there are strata in a split."""


@dataclass(frozen=True)
class Encoding:
    """A bucket to encode: `removed` marks rows that near duplicates took out, `strata` gives a source's stratum.

    Where labels are balanced, a stratum has as many of its own as there are labels.
    """

    number: int
    bucket: Path
    removed: NDArray[np.int8] | None
    encoder: Encoder
    labels: list[str]
    strata: list[int]
    keep_text: bool

    @property
    def name(self) -> str:
        """See stage.Item."""
        return f"samples-{self.number:05d}"

    def places(self, table: pa.Table, samples: pa.Table) -> NDArray[np.int64]:
        """Split and stratum of each row, as one number. Strata are for training: what is measured is measured once."""
        splits = np.array([SPLITS.index(name) for name in table["split"].to_pylist()], np.int64)
        strata = np.array(self.strata, np.int64)[table["source"].to_numpy()]
        if self.encoder.balance:
            strata = strata * len(self.labels) + samples["label"].to_numpy()
        return APART * splits + np.where(splits == SPLITS.index("train"), strata, 0)


def encode(item: Encoding, folder: Path) -> Result:
    """Write the samples in order of id, those of one split and stratum together: [split, stratum, rows] each."""
    table = tables.read(item.bucket)
    if item.removed is not None:
        table = table.filter(pa.array(item.removed == 0))
    samples = pa.concat_tables([_samples(chunk, item) for chunk in _chunks(table)] or [_samples(table, item)])
    place = item.places(table, samples)
    samples = samples.take(pa.array(np.argsort(place, kind="stable"))).combine_chunks()
    tables.write(samples, folder / FILE)
    found, counts = np.unique(place, return_counts=True)
    groups = [[SPLITS[int(key) // APART], int(key) % APART, int(rows)] for key, rows in zip(found, counts, strict=True)]
    return {"groups": groups, "rows": len(samples)}


def _chunks(table: pa.Table) -> list[pa.Table]:
    return [table.slice(start, CHUNK_ROWS) for start in range(0, len(table), CHUNK_ROWS)]


def _samples(table: pa.Table, item: Encoding) -> pa.Table:
    columns = item.encoder.encode(table.select(item.encoder.fields.names).to_pylist(), item.labels)
    kept = {"id": tables.hexadecimal(table["id"]), "source": table["source"], "language": table["language"]}
    if item.keep_text:
        kept |= {name: table[name] for name in item.encoder.fields.names}
    made = {field.name: _array(columns[field.name], field.type) for field in item.encoder.samples}
    return pa.table(kept | made)


def _array(values: object, type: pa.DataType) -> pa.Array:
    return pc.cast(values, type) if isinstance(values, pa.Array) else pa.array(values, type)


def pieces(files: list[Path], results: list[Result]) -> Pieces:
    """Where the samples of each split and stratum are, in global order: rows [start, stop) of a file."""
    found: Pieces = {}
    for file, result in zip(files, results, strict=True):
        first = 0
        for name, stratum, rows in result["groups"]:
            found.setdefault((name, stratum), []).append((file, first, first + rows))
            first += rows
    return dict(sorted(found.items()))
