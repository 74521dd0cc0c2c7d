"""The strata of the train split: samples that an epoch has equally often, by their source's weight and their label.

A stratum of weight w and label c is seen

    w * (M / N(c)) ** balance    times an epoch; N(c) = sum of w * samples over the strata of c, M the largest of them

so that labels have shares of an epoch that go as N(c) ** (1 - balance): with 0 those of the rows, with 1 all the same.
No row is seen less often than its source's weight says. A label with fewer rows than there are lanes is in as many
lanes as it has rows, so that few workers read it. Lample and Conneau, Cross-lingual Language Model Pretraining,
https://arxiv.org/abs/1901.07291, section 3.1, draw languages so, with the exponent 0.5.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from gb_ray.corpus.manifest import Stratum

Key = tuple[str, int]
"""A split and one of its strata."""
Pieces = dict[Key, list[tuple[Path, int, int]]]
"""Where the samples of each stratum are, in global order: rows [start, stop) of a file."""


def of_sources(weights: list[float]) -> list[Stratum]:
    """Of sources with these weights, all labels alike; nothing in them yet."""
    return [Stratum(weight=weight, samples=0, shards=[]) for weight in weights]


def balanced(pieces: Pieces, weights: list[float], labels: list[str], balance: float) -> tuple[Pieces, list[Stratum]]:
    """From strata numbered `weight * len(labels) + label` to those there are, numbered from 0, and what each is."""
    found = {key: divmod(key[1], len(labels)) for key in pieces if key[0] == "train"}
    drawn: dict[int, float] = defaultdict(float)
    for key, (weight, label) in found.items():
        drawn[label] += weights[weight] * sum(stop - start for _, start, stop in pieces[key])
    strata = [
        Stratum(
            weight=weights[weight] * (max(drawn.values()) / drawn[label]) ** balance,
            samples=0,
            shards=[],
            label=labels[label],
        )
        for weight, label in found.values()
    ]
    numbers = {key: ("train", number) for number, key in enumerate(found)}
    return {numbers.get(key, key): held for key, held in pieces.items()}, strata
