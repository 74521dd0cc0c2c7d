"""Several models measured as one: what each makes of a sample, put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gb_ray.corpus.corpus import Corpus
from gb_ray.measure.scores import Found, Scores, of_model
from gb_ray.model import package
from gb_ray.model.ensemble import agree
from gb_ray.train.pace import Pace


def of_models(
    models: Sequence[Path],
    corpora: Mapping[str, Corpus],
    splits: tuple[str, ...],
    workers: int,
    also: Mapping[str, list[str]] | None = None,
) -> Found:
    """Of one exported model, or of several as one, on the splits that have samples. Ray must be up.

    Each answers as it does on the endpoint, its probabilities scaled by its temperature. An ensemble stands for its
    members. `also` is as `scores.of_model` has it. Each is computed by itself, and probabilities are averaged, or what
    they regress. Raises UserError for models that do not `agree`.
    """
    every = [member for model in models for member in package.models(model, package.verify(model))]
    if len(every) > 1:
        agree(every)
    found = [_answers(model, of_model(model, corpora, splits, workers, also)) for model in every]
    if len(found) == 1:
        return found[0]
    return {
        split: {task: together([one[split][task] for one in found]) for task in tasks}
        for split, tasks in found[0].items()
    }


def _answers(model: Path, found: Found) -> Found:
    """What a model answers with, its logits divided by its temperatures."""
    manifest = package.read(model)
    only = next(iter(manifest["tasks"])) if len(manifest["tasks"]) == 1 else None  # it may be called otherwise here
    return {
        split: {task: one.cooled(package.temperature(manifest, only or task)) for task, one in tasks.items()}
        for split, tasks in found.items()
    }


def together(parts: Sequence[Scores]) -> Scores:
    """What models made of the same samples, as one model would have made it."""
    first = parts[0]
    each = [part.logits for part in parts if part.logits is not None]
    logits: list[NDArray[np.floating]] = [
        first.task.mean(np.stack(own).astype(np.float64)) for own in zip(*each, strict=True)
    ]
    paces = [part.pace for part in parts if part.pace]
    return replace(
        first,
        logits=logits,
        temperature=1.0,
        statistics=first.task.statistics(logits, first.targets, first.labels),
        pace=reduce(Pace.then, paces) if paces else None,
    )
