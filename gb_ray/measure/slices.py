"""Parts of a split by language, source, length and label: where a model is weaker than its average tells."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gb_ray.measure import bootstrap
from gb_ray.measure.paired import compare, sign
from gb_ray.measure.scores import Scores

FEWEST = 20
"""Samples below which a slice is shown, but says too little to be ranked."""
Slice = dict[str, Any]
Places = NDArray[np.int64]


def slices(scores: Scores) -> list[Slice]:
    """Every slice with `by`, `name`, `samples`, `metrics`, `intervals` and `behind`, the worst first.

    `behind` is how much of the headline metric it lacks at least: from the whole split's value to the better end of
    the slice's interval. Slices of fewer than FEWEST samples come last, and theirs is None, as is that of a slice with
    nothing to find in it. A division with one part only is none.
    """
    headline = scores.task.headline
    found = [_slice(scores, by, name, places) for by, name, places in _parts(scores)]
    whole = scores.metrics.get(headline)
    for one in found:
        interval = one["intervals"].get(headline)
        one["behind"] = None
        if interval and whole is not None and one["samples"] >= FEWEST:
            best = interval[1] if sign(headline) > 0 else interval[0]
            one["behind"] = round((whole - best) * sign(headline), 6)
    return sorted(found, key=lambda one: (one["behind"] is None, -(one["behind"] or 0), one["by"], one["name"]))


def compared(a: Scores, b: Scores) -> list[Slice]:
    """Every slice of at least FEWEST samples with `by`, `name`, `samples` and the headline metric of a and b compared.

    Those that lost most come first. The samples must be the same.
    """
    headline, found = a.task.headline, []
    for by, name, places in _parts(a):
        if len(places) >= FEWEST:
            outcome = compare(a.statistics[places], b.statistics[places], a.summary).get(headline)
            if outcome:
                found.append({"by": by, "name": name, "samples": len(places), "metric": headline, **outcome})
    return sorted(found, key=lambda one: (one["difference"] * sign(headline), one["by"], one["name"]))


def _slice(scores: Scores, by: str, name: str, places: Places) -> Slice:
    statistics = scores.statistics[places]
    hidden, summary = scores.task.of_whole, partial(scores.task.of_part, labels=scores.labels)
    metrics = summary(statistics.sum(axis=0))
    ends = bootstrap.intervals(statistics, summary) if len(places) > 1 else {}
    return {
        "by": by,
        "name": name,
        "samples": len(places),
        "metrics": {
            key: round(float(value), 6) for key, value in metrics.items() if key not in hidden and np.isfinite(value)
        },
        "intervals": {key: [round(end, 6) for end in pair] for key, pair in ends.items() if key not in hidden},
    }


def _parts(scores: Scores) -> Iterator[tuple[str, str, Places]]:
    about = scores.about
    languages = [language or "not identified" for language in about["language"].to_pylist()]
    labels = [scores.task.names(target, scores.labels) for target in scores.targets]
    for by, names in (
        ("language", [{name} for name in languages]),
        ("source", [{name} for name in about["source"].to_pylist()]),
        ("length", _lengths(about["tokens"].to_numpy())),
        ("label", labels),
    ):
        places: dict[str, list[int]] = {}
        for place, mine in enumerate(names):
            for name in mine:
                places.setdefault(name, []).append(place)
        if len(places) > 1:
            for name, found in sorted(places.items()):
                yield by, name, np.array(found)


def _lengths(tokens: NDArray[np.integer]) -> list[set[str]]:
    """The quarter of the split, by length, that each sample is in; equal lengths are in one."""
    edges = np.unique(np.quantile(tokens, [0, 0.25, 0.5, 0.75, 1], method="higher"))
    # The last edge is the longest sample, which belongs to the quarter before it.
    inner = edges[1:-1] if len(edges) > 2 else edges[:0]
    quarter = np.searchsorted(inner, tokens, side="left")
    names = {q: f"{tokens[quarter == q].min()} to {tokens[quarter == q].max()} tokens" for q in set(quarter.tolist())}
    return [{names[q]} for q in quarter.tolist()]
