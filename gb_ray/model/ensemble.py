"""An ensemble: the package of several models that answer as one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gb_ray.model import package
from gb_ray.model.average import OWN
from gb_ray.section import UserError
from gb_ray.tasks.tokenizer import rules

ALONE = ("causal-lm", "embedding")
"""Tasks of which several models give no answer together: their next tokens and vectors have no mean."""

CORPUS = ("corpus_digest", "corpora")


def agree(models: Sequence[Path]) -> None:
    """Raises UserError unless models (directories, no ensembles) can answer as one: they read a text alike, and answers
    to it are of the same tasks, labels and scales.
    """
    first = package.read(models[0])
    for path in models:
        manifest = package.read(path)
        for task in manifest["tasks"].values():
            if task["type"] in ALONE:
                raise UserError(f"{path}: models of {' and '.join(ALONE)} do not answer as one; average their weights")
        if _asked(manifest) != _asked(first):
            raise UserError(f"{path}: its tasks and labels are not those of {models[0]}; they cannot answer as one")
        if manifest["max_tokens"] != first["max_tokens"] or rules(str(path)) != rules(str(models[0])):
            raise UserError(f"{path}: its tokenizer or longest input is not that of {models[0]}; expected the same")


def check(members: Sequence[Path]) -> None:
    """Raises UserError unless exported models that verified (no ensembles) can be the members of one.

    There are two or more, none twice, they `agree`, and all were trained on one corpus: a gate measures an ensemble on
    rows that none of its members learnt.
    """
    if len(members) < 2:
        raise UserError(f"ensemble: expected two models or more, got {len(members)}")
    agree(members)
    manifests = [package.read(path) for path in members]
    for number, (path, manifest) in enumerate(zip(members, manifests, strict=True)):
        if manifest["weights_sha256"] in {one["weights_sha256"] for one in manifests[:number]}:
            raise UserError(f"{path}: the same weights as a model before it; name each model once")
        if any(manifest.get(key) != manifests[0].get(key) for key in CORPUS):
            raise UserError(f"{path}: its corpus is not that of {members[0]}; a gate would measure on rows it learnt")


def bind(members: Sequence[Path], said: Sequence[dict[str, Any]], known: dict[str, Any], out: Path) -> dict[str, Any]:
    """Write an ensemble of members that passed `check` to the new directory `out`, and return its manifest.

    That has what is `known`, what is `said` of each member, and what all members say alike; tasks, recipe and policy
    are the first's. An ensemble answers with the task's mean of what its members answer, each with its own
    temperature: of their probabilities, or of the numbers that they regress.
    """
    first, *others = [package.read(path) for path in members]
    alike = {key: value for key, value in first.items() if all(one.get(key) == value for one in others)}
    manifest = {key: value for key, value in alike.items() if key not in OWN}
    manifest |= {key: first[key] for key in ("tasks", "recipe", "policy") if key in first}
    return package.several(members, manifest | known | {package.MEMBERS: list(said)}, out)


def _asked(manifest: dict[str, Any]) -> dict[str, Any]:
    """What answers are made of, by task: its type and labels, and the scale of numbers."""
    states = {name: manifest.get("state", {}).get(name, {}) for name in manifest["tasks"]}
    return {
        name: (
            task["type"],
            task["section"].get("multi_label", False),
            task["labels"],
            task["section"].get("targets"),
            states[name].get("mean"),
            states[name].get("sd"),
        )
        for name, task in manifest["tasks"].items()
    }
