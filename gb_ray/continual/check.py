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
    """Raises UserError when the recipe is of other tasks, or `backbone` is not what the model was made of."""
    _whole(version, recipe)
    for name, its in own_names(version, manifest, recipe).items():
        _same_task(version, manifest["tasks"][its], recipe, name)
    _same_architecture(version, backbone, recipe)
    _same_tokenizer(version, backbone, recipe)


def own_names(version: Version, manifest: dict[str, Any], recipe: Recipe) -> dict[str, str]:
    """{task of the recipe: what the model calls it}; of one task each, the names may differ. Raises UserError."""
    its, mine = list(manifest["tasks"]), list(recipe.tasks)
    if len(its) == len(mine) == 1:
        return {mine[0]: its[0]}
    if {*its} != {*mine}:
        raise UserError(
            f"--from: {version.uri} has the tasks {', '.join(its)}, the recipe {', '.join(mine)}; a run goes on with "
            "all tasks of the model and no others, by their names: name them in tasks: and give each a source"
        )
    return dict(zip(mine, mine, strict=True))


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


def _same_task(version: Version, described: dict[str, Any], recipe: Recipe, name: str) -> None:
    mine, its = recipe.tasks[name].model_dump(mode="json"), described["section"]
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
