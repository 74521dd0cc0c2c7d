"""Whether a recipe can go on from a model: what does not fit is refused, with what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gb_ray.model.digest import ADAPTER
from gb_ray.model.package import MEMBERS
from gb_ray.recipe import Recipe
from gb_ray.registry.versions import Version
from gb_ray.section import UserError
from gb_ray.tasks.section import unlike
from gb_ray.tasks.tokenizer import rules


def check(version: Version, manifest: dict[str, Any], recipe: Recipe, backbone: Path) -> None:
    """Raises UserError when the recipe is of another task, or `backbone` is not what the model was made of."""
    _one_task(version, manifest, recipe)
    _whole(version, recipe)
    _same_task(version, manifest, recipe)
    _same_architecture(version, backbone, recipe)
    _same_tokenizer(version, backbone, recipe)


def _one_task(version: Version, manifest: dict[str, Any], recipe: Recipe) -> None:
    for what, tasks in ((version.uri, manifest["tasks"]), ("the recipe", recipe.tasks)):
        if len(tasks) > 1:
            raise UserError(
                f"--from: {what} has {len(tasks)} tasks ({', '.join(tasks)}), and a run goes on from a model of one "
                "task with one task; train several tasks anew, without --from"
            )


def _whole(version: Version, recipe: Recipe) -> None:
    """Adapters are in the weights: one by itself is on the base that its recipe names, never on another model."""
    if (version.path / MEMBERS).is_dir():
        raise UserError(f"{version.uri}: an ensemble; go on from one of its members")
    if (version.path / ADAPTER).is_file():
        raise UserError(
            f"{version.uri}: an adapter, not a whole model; train it with model.adapter.export=merged instead"
        )
    if recipe.model.adapter and recipe.model.adapter.export == "adapter":
        raise UserError(
            "model.adapter.export: an adapter by itself would be on the model that --from names, and is looked for on "
            "the one that model.path names; set model.adapter.export=merged"
        )


def _same_task(version: Version, manifest: dict[str, Any], recipe: Recipe) -> None:
    ((name, section),) = recipe.tasks.items()
    mine, its = section.model_dump(mode="json"), next(iter(manifest["tasks"].values()))["section"]
    if key := unlike(its, mine):
        raise UserError(
            f"{version.uri}: its task has {key}: {its.get(key)}, tasks.{name} of the recipe {key}: "
            f"{mine.get(key)}; go on from a model of the same task, or leave --from out"
        )


def _same_architecture(version: Version, backbone: Path, recipe: Recipe) -> None:
    """Every size that both configurations name."""
    its, mine = (
        json.loads((folder / "config.json").read_text(encoding="utf-8")) for folder in (version.path, backbone)
    )
    sizes = [key for key, value in mine.items() if type(value) is int and not key.endswith("_token_id")]
    for key in ("model_type", *sorted(sizes)):
        if key in its and mine[key] != its[key]:
            raise UserError(
                f"{version.uri}: its architecture has {key} {its[key]}, model.path {recipe.model.path} has "
                f"{mine[key]}; set model.path to the backbone that the model was made of"
            )


def _same_tokenizer(version: Version, backbone: Path, recipe: Recipe) -> None:
    """Rows are tokenised by the backbone's; the model must have learnt with the same."""
    if rules(str(version.path)) != rules(str(backbone)):
        raise UserError(
            f"{version.uri}: its tokenizer is not that of model.path {recipe.model.path}; set model.path to the "
            "backbone that the model was made of"
        )
