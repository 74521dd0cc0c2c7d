"""The recipe of a trial: the user's recipe with some values put in."""

from __future__ import annotations

import json
from typing import Any

from gb_ray.recipe import Recipe, parse
from gb_ray.section import UserError
from gb_ray.tune.section import SearchSection

FIXED = {"model.path", "model.revision", "model.sha256", "model.max_tokens"}
"""The corpus, which is built once, depends on them."""
SHARED = {"train.epochs", "train.workers", "train.gpus"}
"""Trials that differ in them cannot be compared, or are not run."""


def with_values(recipe: Recipe, values: dict[str, Any], where: str) -> Recipe:
    """The recipe with {dotted key: value}, and nothing left to search. Raises UserError."""
    content = recipe.model_dump(mode="json", exclude={"search"})
    return parse(content, [f"{key}={json.dumps(value)}" for key, value in values.items()], where)


def check(recipe: Recipe, where: str) -> SearchSection:
    """The recipe's search, when each value of its space makes a recipe by itself. Raises UserError."""
    search = recipe.search
    if search is None:
        raise UserError(f"{where}: search: required, missing; it says what to try, for instance under search.space")
    for key, values in search.space.items():
        if not (key.startswith(("train.", "model.")) or key == "seed") or key in FIXED | SHARED:
            raise UserError(
                f"{where}: search.space.{key}: cannot be searched; expected a key of train or model other than "
                f"{', '.join(sorted(FIXED | SHARED))}, or seed"
            )
        for value in values.ends:
            with_values(recipe, {key: value}, f"{where}: search.space")
    return search
