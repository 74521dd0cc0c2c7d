"""Which split a row belongs to: a pure function of the row and of cuts that are known before any row is placed."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import ray
from numpy.typing import NDArray

from gb_ray.corpus.encoder import Encoder
from gb_ray.corpus.section import Splits
from gb_ray.corpus.stages import tables
from gb_ray.section import UserError

LIMIT = 2**63
Row = dict[str, Any]


def draw(seed: int, what: str) -> int:
    """Uniform in [0, 2**63), decided by `what` alone."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{what}".encode(), digest_size=8).digest(), "big") >> 1


class Cuts(Protocol):
    """Divides rows that were not given a split."""

    @property
    def columns(self) -> Sequence[str]:
        """What of a row it looks at."""

    def split(self, row: Row) -> str:
        """train, validation or test."""


@dataclass(frozen=True)
class ByHash:
    """A row goes where its content, or its group, says: it stays there however the data grow."""

    seed: int
    test: int
    validation: int
    group: bool

    @property
    def columns(self) -> list[str]:
        """See Cuts."""
        return ["key"] if self.group else ["id"]

    def split(self, row: Row) -> str:
        """See Cuts."""
        drawn = draw(self.seed, row["key"] if self.group else row["id"].hex())
        return "test" if drawn < self.test else "validation" if drawn < self.validation else "train"


@dataclass(frozen=True)
class ByStratum:
    """As by hash, but each stratum is cut where it gives its exact share: rows near a cut move as the data grow."""

    seed: int
    encoder: Encoder
    strata: dict[str, tuple[int, int]]

    @property
    def columns(self) -> list[str]:
        """See Cuts."""
        return ["id", *self.encoder.fields.names]

    def split(self, row: Row) -> str:
        """See Cuts."""
        test, validation = self.strata[self.encoder.stratum(row)]
        drawn = draw(self.seed, row["id"].hex())
        return "test" if drawn < test else "validation" if drawn < validation else "train"


@dataclass(frozen=True)
class ByTime:
    """The latest rows are tested on, those before them validated on; rows of one time are not parted."""

    validation: float
    test: float
    columns: ClassVar[Sequence[str]] = ("key",)

    def split(self, row: Row) -> str:
        """See Cuts."""
        return "test" if row["key"] >= self.test else "validation" if row["key"] >= self.validation else "train"


def cuts(splits: Splits, encoder: Encoder, parts: list[Path]) -> Cuts:
    """The cuts for all rows in `parts`. By stratum and by time they cost the driver 8 bytes a row; by hash nothing."""
    if splits.by in ("hash", "group"):
        test, validation = int(splits.test * LIMIT), int((splits.test + splits.validation) * LIMIT)
        return ByHash(splits.seed, test, validation, group=splits.by == "group")
    if splits.by == "stratified":
        found = ray.get([_draws.remote(part, encoder, splits.seed) for part in parts])
        merged: dict[str, list[NDArray[np.int64]]] = defaultdict(list)
        for strata in found:
            for stratum, drawn in strata.items():
                merged[stratum].append(drawn)
        # A draw follows from a row's content, so equal draws are duplicates.
        return ByStratum(
            splits.seed, encoder, _exact({name: np.unique(np.concatenate(d)) for name, d in merged.items()}, splits)
        )
    return _by_time(splits, parts)


def _exact(strata: dict[str, NDArray[np.int64]], splits: Splits) -> dict[str, tuple[int, int]]:
    """The cuts of each stratum; those too small to give a test row are cut as one, or none of them would be tested."""
    rare = {name for name, drawn in strata.items() if splits.test and round(len(drawn) * splits.test) == 0}
    cuts = {name: _cut(drawn, splits) for name, drawn in strata.items() if name not in rare}
    together = np.sort(np.concatenate([np.empty(0, np.int64), *(strata[name] for name in sorted(rare))]))
    return cuts | dict.fromkeys(rare, _cut(together, splits))


def _cut(drawn: NDArray[np.int64], splits: Splits) -> tuple[int, int]:
    edges = np.append(drawn, LIMIT - 1)
    test = round(len(drawn) * splits.test)
    return int(edges[test]), int(edges[test + round(len(drawn) * splits.validation)])


def _by_time(splits: Splits, parts: list[Path]) -> ByTime:
    times = np.sort(np.concatenate([np.empty(0), *ray.get([_times.remote(part) for part in parts])]))
    if len(times) == 0:
        return ByTime(np.inf, np.inf)
    test = times[min(len(times) - 1, round(len(times) * (1 - splits.test)))] if splits.test else np.inf
    validation = times[min(len(times) - 1, round(len(times) * (1 - splits.test - splits.validation)))]
    if validation == times[0]:
        raise UserError(
            f"splits.column {splits.column!r}: too few different times to divide; nothing would be left to train on"
        )
    return ByTime(float(validation if splits.validation else test), float(test))


@ray.remote
def _draws(part: Path, encoder: Encoder, seed: int) -> dict[str, NDArray[np.int64]]:
    strata: dict[str, list[int]] = defaultdict(list)
    for batch in tables.read(part).to_batches():
        for row in batch.to_pylist():
            if row["split"] is None:
                strata[encoder.stratum(row)].append(draw(seed, row["id"].hex()))
    return {stratum: np.array(drawn, np.int64) for stratum, drawn in strata.items()}


@ray.remote
def _times(part: Path) -> NDArray[np.float64]:
    table = tables.read(part)
    given = np.array(table["split"].is_valid())
    return np.asarray(table["key"].to_numpy())[~given]
