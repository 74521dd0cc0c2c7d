"""How often an interval that claims 95 of 100 has the true value in it: percentiles of resamples, and what gb uses.

    python benchmarks/interval_coverage.py [--sets 1000]

Test sets are drawn from made populations whose true metrics are those of 100,000 samples.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gb_ray.corpus.catalogue.figures import columns
from gb_ray.measure import bootstrap
from gb_ray.tasks.causal_lm import CausalLm
from gb_ray.tasks.section import SequenceClassificationSection, TokenClassificationSection
from gb_ray.tasks.sequence_classification import SequenceClassification
from gb_ray.tasks.token_classification import TokenClassification

Draw = Callable[[np.random.Generator, int], np.ndarray]


def topics(labels: int, skill: float) -> tuple[Draw, bootstrap.Summary]:
    """A classifier of texts into labels that are not equally frequent."""
    task = SequenceClassification(SequenceClassificationSection(type="sequence-classification"), "none", 32)
    names = [str(i) for i in range(labels)]
    share = np.random.default_rng(0).dirichlet(np.full(labels, 5))

    def draw(random: np.random.Generator, samples: int) -> np.ndarray:
        truth = random.choice(labels, samples, p=share)
        logits = random.normal(size=(samples, labels)).astype(np.float32)
        logits[np.arange(samples), truth] += skill
        return task.statistics(list(logits), list(truth), names)

    return draw, lambda sums: task.from_sums(sums, names)


def entities() -> tuple[Draw, bootstrap.Summary]:
    """A tagger of sentences that differ in length, in entities and in how hard they are."""
    task = TokenClassification(TokenClassificationSection(type="token-classification"), "none", 32)

    def draw(random: np.random.Generator, samples: int) -> np.ndarray:
        words, there = random.integers(5, 30, samples), random.poisson(0.7, samples)
        right = random.binomial(there, random.beta(3, 2, samples))
        told = right + random.poisson(0.2, samples)
        return np.column_stack([words, words * 0.1, random.binomial(words, 0.9), right, told, there]).astype(float)

    return draw, lambda sums: task.from_sums(sums, [])


def texts() -> tuple[Draw, bootstrap.Summary]:
    """A language model on texts that differ in length and in how likely they are."""

    def draw(random: np.random.Generator, samples: int) -> np.ndarray:
        tokens = random.integers(5, 200, samples)
        entropies, bytes_each = random.gamma(4, 0.8, samples), random.normal(4.2, 0.3, samples)
        return np.column_stack([tokens, tokens * entropies, tokens * bytes_each])

    return draw, lambda sums: CausalLm.from_sums(None, sums, [])  # type: ignore[arg-type]


CASES = {
    "2 labels, 60 samples": (topics(2, 1.5), 60),
    "17 labels, 125 samples": (topics(17, 3.0), 125),
    "17 labels, 400 samples": (topics(17, 3.0), 400),
    "entities, 200 sentences": (entities(), 200),
    "language model, 60 texts": (texts(), 60),
}


def coverage(case: str, sets: int) -> dict[str, dict[str, float]]:
    """By metric: the share of intervals with the truth in them, of either kind."""
    (draw, of), samples = CASES[case]
    truth = of(draw(np.random.default_rng(0), 100_000 if "17" not in case else 30_000).sum(axis=0))
    hits: dict[str, list[tuple[bool, bool]]] = {}
    for number in range(sets):
        statistics = draw(np.random.default_rng(1 + number), samples)
        whole, drawn = of(statistics.sum(axis=0)), of(bootstrap.sums(statistics))
        left = of(bootstrap.without_one(statistics))
        for name in whole:
            ours = bootstrap.corrected(float(whole[name]), drawn[name], left[name])
            if ours:
                plain = np.quantile(drawn[name][np.isfinite(drawn[name])], [0.025, 0.975])
                inside = (bool(low <= truth[name] <= high) for low, high in (plain, ours))
                hits.setdefault(name, []).append(tuple(inside))  # type: ignore[arg-type]
    return {name: dict(zip(("percentile", "bca"), np.mean(found, axis=0), strict=True)) for name, found in hits.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=1000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with np.errstate(invalid="ignore", divide="ignore"):
        results = {case: coverage(case, options.sets) for case in CASES}
    rows = [["", "percentile", "bca"]]
    for case, found in results.items():
        rows += [[f"{case}: {name}", f"{one['percentile']:.3f}", f"{one['bca']:.3f}"] for name, one in found.items()]
    print("\n".join(columns(rows)))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
