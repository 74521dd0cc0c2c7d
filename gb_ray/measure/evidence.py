"""The metrics that a gate compares."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gb_ray.corpus.corpus import Corpus
from gb_ray.measure import ensemble, fit, scores
from gb_ray.model import package
from gb_ray.section import UserError

OWN_NAME = "give the new model a name of its own in the recipe, and serve it by that"


def evidence(model: Path, candidate: Path, corpora: Mapping[str, Corpus], split: str, workers: int) -> dict[str, float]:
    """Of an exported model, as a gate names them, on a split of the candidate's `corpora`. Ray must be up.

    The model is the candidate itself, or the champion that it is held against: on the candidate's scale, where it
    answers with numbers. A split without samples gives none. Raises UserError when it cannot be measured there, or the
    candidate has fewer tasks.
    """
    first = package.models(candidate, package.read(candidate))[0]
    manifest = package.read(first)
    tasks = package.tasks_of(first, manifest)
    its = list(package.read(model)["tasks"])
    if len(its) > len(tasks):
        raise UserError(
            f"{model}: its tasks are {', '.join(its)}, those of the new model {', '.join(tasks)}: who asks for the "
            f"others would get no answer; {OWN_NAME}"
        )
    fit.check(model, {name: task["section"] for name, task in manifest["tasks"].items()}, first, OWN_NAME)
    found = ensemble.of_models([model], corpora, (split,), workers).get(split, {})
    return scores.joined(
        {name: found[name].restated(task).metrics if name in found else {} for name, task in tasks.items()}
    )
