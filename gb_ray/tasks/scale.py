"""Numbers of any unit on one scale: less their mean, divided by their standard deviation, both of the train split."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gb_ray.section import UserError


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation (over all samples, not the sample estimate) of each target, in its own unit."""

    mean: list[float]
    sd: list[float]

    def standard(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """[..., targets] in their own units to standard deviations from the mean."""
        return (values.astype(np.float64) - self.mean) / self.sd

    def own(self, standard: NDArray[np.floating]) -> NDArray[np.float64]:
        """The inverse of `standard`."""
        return standard.astype(np.float64) * self.sd + self.mean


def measure(rows: Iterable[NDArray[np.float32]], names: list[str], chunk_rows: int = 65536) -> Scale:
    """The scale of rows [targets], in one pass, holding `chunk_rows` of them.

    Chunks are joined as in Chan, Golub and LeVeque, Updating Formulae and a Pairwise Algorithm for Computing Sample
    Variances (1979), which does not cancel where the mean is far from 0. Raises UserError naming a target that never
    differs.
    """
    count, mean, squares = 0, np.zeros(len(names)), np.zeros(len(names))
    low, high = np.full(len(names), np.inf), np.full(len(names), -np.inf)
    for chunk in _chunks(rows, chunk_rows):
        own = chunk.mean(axis=0)
        apart, total = own - mean, count + len(chunk)
        squares = squares + ((chunk - own) ** 2).sum(axis=0) + apart**2 * (count * len(chunk) / total)
        mean, count = mean + apart * (len(chunk) / total), total
        low, high = np.minimum(low, chunk.min(axis=0)), np.maximum(high, chunk.max(axis=0))
    # Not by the squares: rounding of the mean leaves some.
    constant = [name for name, same in zip(names, low == high, strict=True) if same]
    if constant:
        raise UserError(f"target {constant[0]!r}: the same in every row of train; there is nothing to learn")
    return Scale(mean.tolist(), [math.sqrt(square / count) for square in squares])


def _chunks(rows: Iterable[NDArray[np.float32]], size: int) -> Iterable[NDArray[np.float64]]:
    pending: list[NDArray[np.float32]] = []
    for row in rows:
        pending.append(row)
        if len(pending) == size:
            yield np.stack(pending).astype(np.float64)
            pending = []
    if pending:
        yield np.stack(pending).astype(np.float64)
