"""A recipe of three tasks from rows to answers: corpora, training, gate, registry and the form MLflow serves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import WORDS, texts

from gb_ray.finetune import finetune, promote
from gb_ray.inputs import check
from gb_ray.measure import scores
from gb_ray.measure.ensemble import of_models
from gb_ray.model.predictor import Predictor
from gb_ray.progress import Progress
from gb_ray.recipe import load
from gb_ray.registry.tracking import Tracking


def rows() -> dict[str, list[dict[str, Any]]]:
    """Topics of texts; which words are of water, as tags; and how many words there are."""
    plain = texts(180)
    water = set(WORDS["water"])
    tagged = [
        {"tokens": row["text"].split(), "tags": ["B-WATER" if word in water else "O" for word in row["text"].split()]}
        for row in plain
    ]
    return {
        "topic": plain,
        "entities": tagged,
        "length": [{"text": row["text"], "words": len(row["text"].split())} for row in plain[:90]],
    }


@pytest.fixture
def recipe(tmp_path: Path, backbone: Path) -> Path:
    for task, own in rows().items():
        (tmp_path / f"{task}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in own), encoding="utf-8")
    content = {
        "name": "three",
        "corpus": {"sources": [{"uri": str(tmp_path / f"{t}.jsonl"), "task": t} for t in rows()], "lanes": 3},
        "tasks": {
            "topic": {"type": "sequence-classification"},
            "entities": {"type": "token-classification"},
            "length": {"type": "regression", "targets": ["words"]},
        },
        "model": {"path": str(backbone), "max_tokens": 48},
        "train": {"epochs": 3, "batch": 16, "lr": 5e-3, "workers": 2, "precision": "fp32", "balance": "uncertainty"},
    }
    (tmp_path / "policy.yaml").write_text("floors: {topic.macro_f1: 0.3, entities.entity_f1: 0.6}")
    (tmp_path / "three.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return tmp_path / "three.yaml"


@pytest.mark.usefixtures("ray_up")
def test_three_tasks_live_as_one_model(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow
    import pandas as pd

    home = tmp_path / "home"
    home.mkdir()
    inputs, tracking, progress = check(load(recipe), recipe), Tracking.open(home, None), Progress()
    account = finetune(inputs, home, tracking, progress)
    assert list(account["metrics"]["test"]) == list(account["corpus"]) == ["topic", "entities", "length"]
    corpora = inputs.existing(home)
    assert corpora is not None
    assert [corpus.manifest.name for corpus in corpora.values()] == ["three-topic", "three-entities", "three-length"]
    model = Path(account["model"]["path"])
    found = scores.metrics(of_models([model], corpora, ("test",), 1))
    assert found["test"] == account["metrics"]["test"]
    of_one = scores.metrics(of_models([model], {"topic": corpora["topic"]}, ("test",), 1))
    assert of_one["test"] == {"topic": account["metrics"]["test"]["topic"]}
    logged = tracking.run(account["run_id"]).data.metrics
    assert logged["test_topic.macro_f1"] == account["metrics"]["test"]["topic"]["macro_f1"]
    # The gate measures it again, on the splits that each corpus held out.
    outcome = promote("three", account["model"]["version"], home, tracking, None, progress)
    assert outcome["gate"]["passed"], outcome["gate"]
    text = ["river pump 7 grid"]
    predictor = Predictor(model)
    answer = predictor.predict(predictor.encode(text))[0]
    assert [entity["text"] for entity in answer["entities"]["entities"]] == ["river", "pump"]
    assert answer["topic"]["label"] in WORDS
    (row,) = predictor.rows(predictor.encode(text))
    assert (row["entities.tokens"], row["entities.tags"]) == (text[0].split(), ["B-WATER", "B-WATER", "O", "O"])
    assert (row["topic.text"], row["topic.label"]) == (text[0], answer["topic"]["label"])
    assert row["length.words"] == answer["length"]["values"]["words"]
    # Not set_tracking_uri: it would tell every later subprocess too.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking.uri)
    table = mlflow.pyfunc.load_model("models:/three/1").predict(pd.DataFrame({"text": text}))
    assert table["topic"][0]["label"] == answer["topic"]["label"]
    assert sorted(table.columns) == ["entities", "length", "topic"]
