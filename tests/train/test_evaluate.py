"""Measuring a model on Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gb_ray.corpus.build import build
from gb_ray.inputs import check
from gb_ray.progress import Progress
from gb_ray.recipe import load
from gb_ray.section import UserError
from gb_ray.train.evaluate import evaluate


def refuse() -> Any:
    """A model that cannot be made of what the user wants."""
    raise UserError("model.pooler: there is none")


def test_what_cannot_be_made_is_refused_in_one_line(ray_up: str, recipe_file: Path, tmp_path: Path) -> None:
    inputs = check(load(recipe_file), recipe_file)
    corpus = build(inputs.corpora["topic"], tmp_path / "home", Progress())
    with pytest.raises(UserError) as raised:
        evaluate(refuse, inputs.tasks["topic"], corpus, "test")
    assert str(raised.value) == "model.pooler: there is none"
