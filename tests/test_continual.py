"""Going on from a model, through the verbs: new labels, replay, and what is forgotten."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers import WORDS, gb, gb_json, texts, write_recipe
from safetensors.torch import load_file

from gb_ray.registry.tracking import Tracking

pytestmark = pytest.mark.chaos
OLD, NEW = ["health", "water"], ["energy", "health", "water"]


def recipe(folder: Path, backbone: Path, rows: list[dict[str, str]], labels: list[str] | None, **train: Any) -> Path:
    folder.mkdir()
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    task = {"type": "sequence-classification"} | ({"labels": labels} if labels else {})
    return write_recipe(
        {
            "name": "topics",
            "corpus": {"sources": [{"uri": str(folder / "rows.jsonl")}], "lanes": 4},
            "tasks": {"topic": task},
            "model": {"path": str(backbone), "max_tokens": 32},
            "train": {"epochs": 4, "batch": 16, "lr": 3e-3, "workers": 1} | train,
        },
        folder,
    )


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory, backbone: Path, head: dict[str, str]) -> dict[str, Any]:
    """A model of two topics, and one that went on from it to three, whose rows are of the third and some old ones."""
    folder, rows = tmp_path_factory.mktemp("continual"), texts(300)
    old = recipe(folder / "old", backbone, [row for row in rows[:240] if row["label"] in OLD], None)
    later = [row for row in rows if row["label"] == "energy"] + [row for row in rows[220:] if row["label"] in OLD]
    new = recipe(folder / "new", backbone, later, NEW, replay=0.25)
    common = ("--home", folder / "home", "--ray", head["address"])
    first = gb_json("finetune", old, *common)
    second = gb_json("finetune", new, "--from", first["model"]["uri"], *common)
    return {"folder": folder, "common": common, "new": new, "first": first, "second": second}


def test_an_epoch_has_the_share_of_old_samples_that_was_asked_for(life: dict[str, Any]) -> None:
    drawn = life["second"]["corpus"]["splits"]["train"]
    assert life["second"]["samples_seen"] == 4 * (drawn + round(drawn / 3))


def test_forgetting_is_what_evaluate_measures_of_both_models_on_the_old_test_split(life: dict[str, Any]) -> None:
    before, forgotten = life["first"]["metrics"]["test"]["topic"], life["second"]["forgetting"]
    assert {name: of["before"] for name, of in forgotten.items()}.items() <= before.items()
    assert forgotten["accuracy"]["before"] > 0.8  # there was something to forget
    old = life["folder"] / "old" / "recipe.yaml"
    after = gb_json("evaluate", life["second"]["model"]["uri"], "--recipe", old, *life["common"])
    for name, of in forgotten.items():
        assert of["after"] == after["metrics"]["test"]["topic"][name]
        assert of["difference"] == pytest.approx(of["after"] - of["before"], abs=2e-6)
    assert {"accuracy", "macro_f1", "loss"} <= forgotten.keys()


def test_the_manifest_and_the_card_say_where_the_model_comes_from(life: dict[str, Any]) -> None:
    first, path = life["first"]["model"], Path(life["second"]["model"]["path"])
    manifest = json.loads((path / "gb_model.json").read_text())
    assert manifest["from"]["version"] == first["version"]
    assert manifest["from"]["weights_sha256"] == first["weights_sha256"]
    assert manifest["from"]["new_labels"] == ["energy"]
    assert manifest["forgetting"] == life["second"]["forgetting"]
    card = (path / "README.md").read_text()
    assert first["weights_sha256"] in card and "| accuracy |" in card.split("## The model it went on from")[1]


def test_the_tracking_server_has_what_was_forgotten(life: dict[str, Any]) -> None:
    run = Tracking.open(life["folder"] / "home", None).run(life["second"]["run_id"])
    for name, of in life["second"]["forgetting"].items():
        assert run.data.metrics[f"old_test_{name}_difference"] == pytest.approx(of["difference"])
    assert run.data.tags["from"] == life["first"]["model"]["uri"]


def test_both_models_stand_beside_each_other_on_the_old_test_split(life: dict[str, Any]) -> None:
    old, models = life["folder"] / "old" / "recipe.yaml", [life[which]["model"]["uri"] for which in ("second", "first")]
    found = gb_json("evaluate", models[0], "--against", models[1], "--recipe", old, *life["common"])
    compared = found["compared"]["test"]["topic"]
    for name, of in life["second"]["forgetting"].items():
        assert (compared[name]["a"], compared[name]["b"]) == (of["before"], of["after"])


def test_a_row_of_both_corpora_falls_into_the_same_split_of_both(life: dict[str, Any]) -> None:
    """Rows 220 to 239 are in both; where splits go by content none is trained on and tested on."""
    assert life["second"]["from"]["rows_in_both"] == {"new_train_in_old_test": 0, "old_train_in_new_test": 0}


def test_old_labels_start_with_the_rows_that_they_had(life: dict[str, Any]) -> None:
    start = next((life["folder"] / "home" / "runs").glob("*/start"))
    parent, grown = (
        load_file(folder / "model.safetensors") for folder in (Path(life["first"]["model"]["path"]), start)
    )
    assert grown["classifier.weight"][1:].equal(parent["classifier.weight"])


def test_a_corpus_without_an_old_label_is_refused_with_what_to_write(life: dict[str, Any], backbone: Path) -> None:
    rows = [row for row in texts(90) if row["label"] != "water"]
    path = recipe(life["folder"] / "less", backbone, rows, None)
    done = gb("finetune", path, "--from", life["first"]["model"]["uri"], *life["common"])
    assert done.returncode == 2 and "'water'" in done.stderr
    assert 'labels: ["energy", "health", "water"]' in done.stderr


def test_replay_without_a_model_to_go_on_from_is_refused(life: dict[str, Any]) -> None:
    done = gb("finetune", life["new"], *life["common"])
    assert done.returncode == 2 and "train.replay" in done.stderr and "--from" in done.stderr


def test_replay_of_a_corpus_that_is_not_in_the_home_is_refused(life: dict[str, Any]) -> None:
    elsewhere = ("--home", life["folder"] / "elsewhere", *life["common"][2:])
    done = gb("finetune", life["new"], "--from", life["first"]["model"]["path"], *elsewhere)
    assert done.returncode == 2 and "train.replay" in done.stderr
    assert life["first"]["corpus"]["digest"] in done.stderr


def of_two(folder: Path, backbone: Path, rows: list[dict[str, str]], labels: list[str], **train: Any) -> Path:
    """A recipe of two tasks: what a text is about, and which of its words are of water."""
    folder.mkdir()
    water = set(WORDS["water"])
    tagged = [{"tokens": words, "tags": ["B-WATER" if w in water else "O" for w in words]} for words in split(rows)]
    for name, own in {"topic": rows, "entities": tagged}.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in own), encoding="utf-8")
    content = {
        "name": "two",
        "corpus": {"sources": [{"uri": str(folder / f"{name}.jsonl"), "task": name} for name in ("topic", "entities")]},
        "tasks": {
            "topic": {"type": "sequence-classification", "labels": labels},
            "entities": {"type": "token-classification"},
        },
        "model": {"path": str(backbone), "max_tokens": 48},
        "train": {"epochs": 4, "batch": 16, "lr": 4e-3, "workers": 2, "precision": "fp32"} | train,
    }
    path = write_recipe(content, folder)
    (folder / "policy.yaml").write_text("floors: {topic.macro_f1: 0.1}")
    return path


def split(rows: list[dict[str, str]]) -> list[list[str]]:
    return [row["text"].split() for row in rows]


@pytest.fixture(scope="module")
def lives_of_two(
    tmp_path_factory: pytest.TempPathFactory, backbone: Path, head: dict[str, str]
) -> tuple[dict[str, Any], dict[str, Any], tuple[Any, ...], Path]:
    """A model of two tasks, and one that went on from it to a new label of the first: their accounts."""
    folder, rows = tmp_path_factory.mktemp("two"), texts(300)
    old = of_two(folder / "old", backbone, [row for row in rows[:240] if row["label"] in OLD], OLD)
    later = [row for row in rows if row["label"] == "energy"] + [row for row in rows[220:] if row["label"] in OLD]
    new = of_two(folder / "new", backbone, later, NEW, replay=0.25)
    common = ("--home", folder / "home", "--ray", head["address"])
    first = gb_json("finetune", old, *common)
    return first, gb_json("finetune", new, "--from", first["model"]["uri"], *common), common, old


def test_a_model_of_two_tasks_goes_on_with_both(lives_of_two: Any) -> None:
    first, second, common, old = lives_of_two
    assert second["from"]["new_labels"] == {"topic": ["energy"], "entities": []}
    drawn = sum(corpus["splits"]["train"] for corpus in second["corpus"].values())
    assert second["samples_seen"] == 4 * (drawn + round(drawn / 3))
    # It begins where the first one ended: no new head tells two labels of three apart so well.
    assert second["before"]["test"]["entities"]["entity_f1"] > 0.8
    before = {f"{task}.{name}": value for task, own in first["metrics"]["test"].items() for name, value in own.items()}
    forgotten = second["forgetting"]
    assert {"topic.accuracy", "entities.entity_f1"} <= forgotten.keys()
    after = gb_json("evaluate", second["model"]["uri"], "--recipe", old, *common)["metrics"]["test"]
    for name, of in forgotten.items():
        task, metric = name.split(".")
        assert (of["before"], of["after"]) == (before[name], after[task][metric])


def test_replayed_samples_of_two_tasks_keep_their_labels(lives_of_two: Any) -> None:
    """The first task's labels have other numbers now, the second's have not: mixed up, neither would be known."""
    _, second, *_ = lives_of_two
    assert second["metrics"]["test"]["topic"]["accuracy"] > 0.8
    assert second["forgetting"]["topic.accuracy"]["after"] > 0.8
    assert second["forgetting"]["entities.entity_f1"]["after"] > 0.8
