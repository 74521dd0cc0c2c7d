"""Two models on the same samples: is one better, or was it luck?

The intervals of two models say little of their difference: both find the same samples hard. Here every draw is made
for both at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gb_ray.measure.bootstrap import AT_ONCE, SEED, Array, Summary, corrected, sums, without_one
from gb_ray.tasks.base import sign

PERMUTATIONS = 2000
SMALLEST = 1e-12
"""Below this a difference is rounding."""


def compare(a: Array, b: Array, summary: Summary, seed: int = SEED) -> dict[str, dict[str, Any]]:
    """Each metric of `a` and `b`, statistics [samples, k] of two models on the same samples, and their difference.

    `difference` is that of b less a, `interval` its 95 % interval over the same resamples of both, `p` the two-sided
    probability of a difference as large when each sample's two outcomes are swapped by a coin (the permutation test
    for paired samples: Good, Permutation, Parametric and Bootstrap Tests of Hypotheses, 2005, chapter 3). `better` is
    "a" or "b", and None when the interval has 0 in it. A metric that is not defined for one of them is left out.
    """
    whole_a, whole_b = summary(a.sum(axis=0)), summary(b.sum(axis=0))
    drawn_a, drawn_b = summary(sums(a, seed=seed)), summary(sums(b, seed=seed))
    left_a, left_b = summary(without_one(a)), summary(without_one(b))
    chances = _chances(a, b, summary, seed)
    found = {}
    for name in whole_a:
        difference = float(whole_b[name] - whole_a[name])
        interval = corrected(difference, drawn_b[name] - drawn_a[name], left_b[name] - left_a[name])
        if interval is None:
            continue
        better = None
        if interval[0] > SMALLEST or interval[1] < -SMALLEST:
            better = "b" if difference * sign(name) > 0 else "a"
        found[name] = {
            "a": round(float(whole_a[name]), 6),
            "b": round(float(whole_b[name]), 6),
            "difference": round(difference, 6) + 0.0,
            "interval": [round(end, 6) + 0.0 for end in interval],
            "p": chances[name],
            "better": better,
        }
    return found


def _chances(a: Array, b: Array, summary: Summary, seed: int) -> dict[str, float]:
    all_a, all_b, apart = a.sum(axis=0), b.sum(axis=0), b - a
    whole_a, whole_b = summary(all_a), summary(all_b)
    random, larger = np.random.default_rng(seed), dict.fromkeys(whole_a, 1)
    block = max(1, AT_ONCE // len(a))
    for start in range(0, PERMUTATIONS, block):
        swapped = random.integers(0, 2, (min(block, PERMUTATIONS - start), len(a))).astype(np.float64) @ apart
        one, other = summary(all_a + swapped), summary(all_b - swapped)
        for name in larger:
            least = abs(whole_b[name] - whole_a[name]) - SMALLEST
            larger[name] += int((np.abs(other[name] - one[name]) >= least).sum())
    return {name: round(count / (PERMUTATIONS + 1), 6) for name, count in larger.items()}
