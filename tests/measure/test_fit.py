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
from gb_ray.tasks.section import (
    RegressionSection,
    SequenceClassificationSection,
    TaskSection,
    TokenClassificationSection,
)

TOPIC = SequenceClassificationSection(type="sequence-classification")
TOPICS = SequenceClassificationSection(type="sequence-classification", multi_label=True)
TAGS = TokenClassificationSection(type="token-classification")
LOAD, PRICE = (RegressionSection(type="regression", targets=[target]) for target in ("load", "price"))
LABELS = ["energy", "health", "water"]
Export = Callable[..., Path]


def asked(**sections: TaskSection) -> fit.Sections:
    """What the corpora are of."""
    return {name: section.model_dump(mode="json") for name, section in sections.items()}


@pytest.fixture
def cased(backbone: Path, tmp_path: Path) -> Path:
    """The same backbone with a tokenizer that keeps capitals."""
    other = shutil.copytree(backbone, tmp_path / "cased")
    content = (other / "tokenizer.json").read_text()
    (other / "tokenizer.json").write_text(content.replace('"lowercase": true', '"lowercase": false'))
    return other


def test_a_model_of_another_tokenizer_is_not_measured(export: Export, backbone: Path, cased: Path) -> None:
    model = export("one", TOPIC, LABELS)
    fit.check(model, asked(it=TOPIC), backbone, "")
    with pytest.raises(UserError, match=r"its tokenizer is not that of .*cased.*; take another"):
        fit.check(model, asked(it=TOPIC), cased, "take another")


def test_nor_is_an_ensemble_of_such_models(export: Export, backbone: Path, cased: Path, tmp_path: Path) -> None:
    both = [export(name, TOPIC, LABELS, seed) for seed, name in enumerate(("one", "two"))]
    bind(both, [{}, {}], {"name": "topics", "run_id": "both"}, tmp_path / "both")
    fit.check(tmp_path / "both", asked(it=TOPIC), backbone, "")
    with pytest.raises(UserError, match="members/1: its tokenizer"):
        fit.check(tmp_path / "both", asked(it=TOPIC), cased, "")


@pytest.mark.parametrize(
    ("section", "labels", "of", "told"),
    [
        (TAGS, ["O", "B-LOC", "I-LOC"], TOPIC, "type: token-classification, the corpus of topic is of type: sequence"),
        (TOPIC, LABELS, TOPICS, "multi_label: False, the corpus of topic is of multi_label: True; take another"),
        (LOAD, [], PRICE, r"targets: \['load'\], the corpus of topic is of targets: \['price'\]"),
    ],
)
def test_a_model_of_another_task_is_not_measured(
    section: TaskSection, labels: list[str], of: TaskSection, told: str, export: Export, backbone: Path
) -> None:
    model = export("one", section, labels)
    fit.check(model, asked(called_otherwise=section), backbone, "")
    with pytest.raises(UserError, match=told):
        fit.check(model, asked(topic=of), backbone, "take another")


def test_what_of_a_task_decides_no_answer_may_differ(export: Export, backbone: Path) -> None:
    other = TOPIC.model_copy(update={"text": "body", "label": "topic", "focal": 2.0, "labels": [*LABELS, "other"]})
    fit.check(export("one", TOPIC, LABELS), asked(it=other), backbone, "")


@pytest.mark.parametrize("named", ["model", "with", "against"])
def test_evaluate_refuses_it_before_anything_is_started(
    named: str, export: Export, cased: Path, recipe_file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fits, other = export("fits", TOPIC, LABELS), export("other", TOPIC, LABELS, 1)
    shutil.copy(cased / "tokenizer.json", other / "tokenizer.json")
    _sealed(other)
    words = [str(other)] if named == "model" else [str(fits), f"--{named}", str(other)]
    assert main(["evaluate", *words, "--recipe", str(recipe_file), "--home", str(tmp_path / "home")]) == 2
    assert "measure it with a recipe of its own task and backbone" in capfd.readouterr().err


def _sealed(model: Path) -> None:
    """Its manifest agrees with its files again."""
    package.amend(model, files={name: sha256(model / name) for name in package.read(model)["files"]})


def test_a_model_of_several_tasks_is_measured_on_those_that_it_has(export: Export, backbone: Path) -> None:
    tasks = {name: {"section": section, "labels": []} for name, section in asked(topic=TOPIC, tags=TAGS).items()}
    model = export("both", TOPIC, LABELS, tasks=tasks)
    fit.check(model, asked(tags=TAGS), backbone, "")
    with pytest.raises(UserError, match="its tasks are topic, tags, and a corpus is of load; take another"):
        fit.check(model, asked(tags=TAGS, load=LOAD), backbone, "take another")
    with pytest.raises(UserError, match="its task has type: token-classification"):
        fit.check(model, asked(tags=TOPIC), backbone, "")
