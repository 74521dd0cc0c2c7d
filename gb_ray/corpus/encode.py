"""Third stage of a build: rows are given their split and become samples."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from numpy.typing import NDArray

from gb_ray.corpus.encoder import Encoder
from gb_ray.corpus.section import Splits
from gb_ray.corpus.unique import Block
from gb_ray.progress import Stage


@dataclass(frozen=True)
class Cuts:
    """Where each stratum is cut, (test, validation): a row whose draw is below goes there, any other to train."""

    seed: int
    strata: dict[str, tuple[int, int]]

    def split(self, stratum: str, id: str) -> str:
        """The split of a row that was not given one."""
        test, validation = self.strata[stratum]
        drawn = draw(self.seed, id)
        return "test" if drawn < test else "validation" if drawn < validation else "train"


@dataclass(frozen=True)
class Encoded:
    """Samples of all splits in global order, and how many of each split a block holds."""

    ref: Any
    counts: Counter[str]


def draw(seed: int, id: str) -> int:
    """A row's draw: uniform in [0, 2**63), decided by its content alone."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{id}".encode(), digest_size=8).digest(), "big") >> 1


def survey(blocks: list[Block], encoder: Encoder, splits: Splits) -> tuple[list[str], Cuts]:
    """The label set, and cuts that give each stratum its exact shares. Costs the driver 8 bytes a row."""
    found = ray.get([_survey_block.remote(block.ref, encoder, splits.seed) for block in blocks])
    labels = sorted(set().union(*(labels for labels, _ in found)), key=_natural)
    draws: dict[str, list[NDArray[np.int64]]] = {}
    for _, strata in found:
        for stratum, drawn in strata.items():
            draws.setdefault(stratum, []).append(drawn)
    return labels, Cuts(splits.seed, {s: _cut(np.sort(np.concatenate(d)), splits) for s, d in draws.items()})


def encode(blocks: list[Block], encoder: Encoder, labels: list[str], cuts: Cuts, stage: Stage) -> list[Encoded]:
    """Split and tokenise every block, in parallel, keeping their order."""
    results = [_encode_block.remote(block.ref, encoder, labels, cuts) for block in blocks]
    done = 0
    counts = []
    for (_, info), block in zip(results, blocks, strict=True):
        counts.append(ray.get(info))
        stage.to(done := done + block.rows)
    return [Encoded(ref, count) for (ref, _), count in zip(results, counts, strict=True)]


def _cut(drawn: NDArray[np.int64], splits: Splits) -> tuple[int, int]:
    edges = np.append(drawn, 2**63 - 1)
    test = round(len(drawn) * splits.test)
    return int(edges[test]), int(edges[test + round(len(drawn) * splits.validation)])


def _natural(label: str) -> tuple[int, float, str]:
    """Numbers in order of value (7 and 07 by their text) before words in order of the alphabet, `O` first of those."""
    return (0, float(label), label) if label.isdecimal() else (1, 0.0, "" if label == "O" else label)


@ray.remote
def _survey_block(table: pa.Table, encoder: Encoder, seed: int) -> tuple[set[str], dict[str, NDArray[np.int64]]]:
    labels: set[str] = set()
    strata: dict[str, list[int]] = {}
    for row in table.to_pylist():
        labels |= encoder.labels_of(row)
        if row["split"] is None:
            strata.setdefault(encoder.stratum(row), []).append(draw(seed, row["id"]))
    return labels, {stratum: np.array(drawn, np.int64) for stratum, drawn in strata.items()}


@ray.remote(num_returns=2)
def _encode_block(table: pa.Table, encoder: Encoder, labels: list[str], cuts: Cuts) -> tuple[pa.Table, Counter[str]]:
    rows = table.to_pylist()
    splits = [row["split"] or cuts.split(encoder.stratum(row), row["id"]) for row in rows]
    columns = encoder.encode(rows, labels)
    arrays = [pa.array(columns[field.name], field.type) for field in encoder.samples]
    samples = table.set_column(table.schema.get_field_index("split"), "split", pa.array(splits, pa.string()))
    for field, array in zip(encoder.samples, arrays, strict=True):
        samples = samples.append_column(field, array)
    return samples, Counter(splits)
