"""How far a metric might be off, had other samples been drawn: the bootstrap over samples.

A resample draws as many samples as there are, with replacement. Metrics are functions of sums over samples, so that a
resample is a weighted sum of statistics, and the model is not asked again.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

RESAMPLES = 1000
LEVEL = 0.95
SEED = 0
AT_ONCE = 1 << 22
"""Weights that are held at once."""
FEWEST = 0.9
"""Of the resamples must define a metric, or it has no interval."""
Array = NDArray[np.float64]
Metrics = dict[str, Array]
Summary = Callable[[Array], Metrics]
"""Metrics [...] by name from sums [..., k] of statistics."""
Interval = tuple[float, float]


def sums(statistics: Array, resamples: int = RESAMPLES, seed: int = SEED) -> Array:
    """float64 [resamples, k]: `statistics` [samples, k] summed over each resample.

    For one number of samples and one seed the resamples are the same: two models that are summed so are compared on
    the same draws.
    """
    count = len(statistics)
    random, found = np.random.default_rng(seed), np.empty((resamples, statistics.shape[1]))
    block = max(1, AT_ONCE // count)
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        drawn = random.integers(0, count, (size, count)) + count * np.arange(size)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        found[start : start + size] = weights.astype(np.float64) @ statistics
    return found


def without_one(statistics: Array) -> Array:
    """float64 [samples, k]: the sums over all samples but one, for each."""
    return np.asarray(statistics.sum(axis=0) - statistics)


def intervals(statistics: Array, summary: Summary, seed: int = SEED) -> dict[str, Interval]:
    """The 95 % interval of each metric of `statistics` [samples, k]. A metric that is not defined has none.

    Near the end of its range the area under a curve is covered less often than 95 times of 100, see
    benchmarks/interval_coverage.py.
    """
    whole = summary(statistics.sum(axis=0))
    drawn, left = summary(sums(statistics, seed=seed)), summary(without_one(statistics))
    found = ((name, corrected(float(whole[name]), drawn[name], left[name])) for name in whole)
    return {name: interval for name, interval in found if interval}


def corrected(whole: float, drawn: Array, left: Array) -> Interval | None:
    """The interval of a metric that is `whole` on all samples, `drawn` [resamples] on resamples.

    Bias-corrected and accelerated: Efron, Better Bootstrap Confidence Intervals (1987); `left` [samples] is the metric
    without each sample. None when the metric is not defined.
    """
    drawn, left = drawn[np.isfinite(drawn)], left[np.isfinite(left)]
    if not np.isfinite(whole) or len(drawn) < FEWEST * RESAMPLES or not len(left):
        return None
    below = (np.sum(drawn < whole) + 0.5 * np.sum(drawn == whole)) / len(drawn)
    bias = ndtri(np.clip(below, 1 / len(drawn), 1 - 1 / len(drawn)))
    apart = left.mean() - left
    square = (apart**2).sum()
    bend = (apart**3).sum() / (6 * square**1.5) if square > 0 else 0.0
    ends = bias + ndtri(np.array([(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    low, high = np.quantile(drawn, ndtr(bias + ends / (1 - bend * ends)))
    return float(low), float(high)
