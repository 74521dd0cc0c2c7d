"""A model is measured only where its answers mean something."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gb_ray.cli import main
from gb_ray.files import sha256
from gb_ray.measure import fit
from gb_ray.model import package
from gb_ray.model.ensemble import bind
from gb_ray.section import UserError
from gb_ray.tasks.section import SequenceClassificationSection

TOPIC = SequenceClassificationSection(type="sequence-classification")
LABELS = ["energy", "health", "water"]
Export = Callable[..., Path]


@pytest.fixture
def cased(backbone: Path, tmp_path: Path) -> Path:
    """The same backbone with a tokenizer that keeps capitals."""
    other = shutil.copytree(backbone, tmp_path / "cased")
    content = (other / "tokenizer.json").read_text()
    (other / "tokenizer.json").write_text(content.replace('"lowercase": true', '"lowercase": false'))
    return other


def test_a_model_of_another_tokenizer_is_not_measured(export: Export, backbone: Path, cased: Path) -> None:
    model = export("one", TOPIC, LABELS)
    fit.same_tokenizer(model, backbone, "")
    with pytest.raises(UserError, match=r"its tokenizer is not that of .*cased.*; take another"):
        fit.same_tokenizer(model, cased, "take another")


def test_nor_is_an_ensemble_of_such_models(export: Export, backbone: Path, cased: Path, tmp_path: Path) -> None:
    both = [export(name, TOPIC, LABELS, seed) for seed, name in enumerate(("one", "two"))]
    bind(both, [{}, {}], {"name": "topics", "run_id": "both"}, tmp_path / "both")
    fit.same_tokenizer(tmp_path / "both", backbone, "")
    with pytest.raises(UserError, match="members/1: its tokenizer"):
        fit.same_tokenizer(tmp_path / "both", cased, "")


@pytest.mark.parametrize("named", ["model", "with", "against"])
def test_evaluate_refuses_it_before_anything_is_started(
    named: str, export: Export, cased: Path, recipe_file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fits, other = export("fits", TOPIC, LABELS), export("other", TOPIC, LABELS, 1)
    shutil.copy(cased / "tokenizer.json", other / "tokenizer.json")
    _sealed(other)
    words = [str(other)] if named == "model" else [str(fits), f"--{named}", str(other)]
    assert main(["evaluate", *words, "--recipe", str(recipe_file), "--home", str(tmp_path / "home")]) == 2
    assert "measure it with a recipe of the backbone it was made of" in capfd.readouterr().err


def _sealed(model: Path) -> None:
    """Its manifest agrees with its files again."""
    package.amend(model, files={name: sha256(model / name) for name in package.read(model)["files"]})
