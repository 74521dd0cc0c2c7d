"""Several models measured as one: what each makes of a sample, put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gb_ray.corpus.corpus import Corpus
from gb_ray.measure.scores import Found, Scores, of_model
from gb_ray.model import package
from gb_ray.section import UserError


def of_models(models: Sequence[Path], corpora: Mapping[str, Corpus], splits: tuple[str, ...], workers: int) -> Found:
    """Of one exported model, or of several as one, on the splits that have samples. Ray must be up.

    Each is computed by itself. Their probabilities are averaged, or what they regress. Raises UserError for models of
    other tasks or labels than the first.
    """
    for model in models if len(models) > 1 else ():
        if any(task["type"] in ("causal-lm", "embedding") for task in package.read(model)["tasks"].values()):
            raise UserError(f"{model}: models of causal-lm and embedding do not answer as one; average their weights")
        if _asked(model) != _asked(models[0]):
            raise UserError(f"{model}: its tasks and labels are not those of {models[0]}; they cannot answer as one")
    found = [of_model(model, corpora, splits, workers) for model in models]
    if len(found) == 1:
        return found[0]
    return {
        split: {task: together([one[split][task] for one in found]) for task in tasks}
        for split, tasks in found[0].items()
    }


def _asked(model: Path) -> dict[str, Any]:
    """What answers are made of, by task: its type and labels, and the scale of numbers."""
    manifest = package.read(model)
    states = {name: manifest.get("state", {}).get(name, {}) for name in manifest["tasks"]}
    return {
        name: (task["type"], task["labels"], states[name].get("mean"), states[name].get("sd"))
        for name, task in manifest["tasks"].items()
    }


def together(parts: Sequence[Scores]) -> Scores:
    """What models made of the same samples, as one model would have made it."""
    first = parts[0]
    each = [part.logits for part in parts if part.logits is not None]
    drawn = (np.stack(own).astype(np.float64) for own in zip(*each, strict=True))
    logits: list[NDArray[np.floating]] = [first.task.mean(own) for own in drawn]
    return replace(first, logits=logits, statistics=first.task.statistics(logits, first.targets, first.labels))
