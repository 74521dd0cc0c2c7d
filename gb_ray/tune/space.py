"""What may be searched, and the recipe of a trial: the user's with some values put in."""

from __future__ import annotations

import json
import re
from typing import Any

from gb_ray.recipe import Recipe, parse
from gb_ray.section import UserError
from gb_ray.tune.section import SearchSection

SEARCHED = re.compile(r"(train|model)\..+|tasks\.[^.]+\.(weight|label_smoothing)")
FIXED = re.compile(
    r"model\.(path|revision|sha256|max_tokens)|train\.(epochs|workers|gpus|zero|max_failures|hang_s)"
    r"|train\.(offload|checkpoint)(\..*)?"
)
"""The corpus depends on them, or trials that differ in them cannot be compared, or they change no model."""


def with_values(recipe: Recipe, values: dict[str, Any], where: str) -> Recipe:
    """The recipe with {dotted key: value}, and nothing left to search. Raises UserError, naming `where` and the key."""
    content = recipe.model_dump(mode="json", exclude={"search"}, exclude_unset=True)
    for key, value in values.items():
        *parents, last = key.split(".")
        section = content
        for part in parents:
            section[part] = {} if section.get(part) is None else section[part]
            section = section[part]
        section[last] = value
    return parse(content, [], where)


def coded(search: SearchSection, values: dict[str, Any]) -> dict[str, Any]:
    """Values as a sampler knows them: a choice is JSON, for it takes no lists and mappings."""
    return {key: text(values[key]) if one.choice is not None else values[key] for key, one in search.space.items()}


def decoded(search: SearchSection, config: dict[str, Any]) -> dict[str, Any]:
    """The values in what a sampler drew."""
    return {
        key: json.loads(config[key]) if one.choice is not None else config[key] for key, one in search.space.items()
    }


def text(choice: Any) -> str:
    """A choice as a sampler knows it."""
    return json.dumps(choice, sort_keys=True)


def check(recipe: Recipe, where: str) -> SearchSection:
    """The recipe's search, when each value of its space makes a recipe by itself. Raises UserError."""
    search = recipe.search
    if search is None:
        raise UserError(f"{where}: search: required, missing; under search.space it says what to try")
    if recipe.train.offload.optimizer != "none" or recipe.train.offload.parameters != "none":
        raise UserError(f"{where}: train.offload: a trial trains in one process that offloads nothing; leave it out")
    for key, values in search.space.items():
        if not SEARCHED.fullmatch(key) or FIXED.fullmatch(key):
            raise UserError(
                f"{where}: search.space.{key}: cannot be searched; expected a key of train or model that changes what "
                "is learnt of the same corpus in as many epochs, or tasks.NAME.weight or .label_smoothing"
            )
        if not _is_key(recipe, key):
            raise UserError(
                f"{where}: search.space.{key}: unknown key; this recipe's tasks are {', '.join(recipe.tasks)}"
            )
        for value in values.samples:
            with_values(recipe, {key: value}, f"{where}: search.space")
    return search


def _is_key(recipe: Recipe, key: str) -> bool:
    """A name of a task would be taken as that of a new one; of other keys the recipe itself knows."""
    section, name, *_ = key.split(".")
    return section != "tasks" or name in recipe.tasks
