"""The tasks that the other tests of a whole life leave out: corpus, training, measuring and answering, end to end."""

from __future__ import annotations

import csv
import json
import os
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import WORDS, write_recipe

from gb_ray.corpus.build import build
from gb_ray.inputs import check
from gb_ray.measure.scores import of_model, of_split
from gb_ray.model import load, package
from gb_ray.model.predictor import Predictor
from gb_ray.progress import Progress
from gb_ray.recipe import load as load_recipe
from gb_ray.train import run as runs
from gb_ray.train.trainer import fit

ROWS = 240
TOPICS = list(WORDS)


def tune(folder: Path, backbone: Path, rows: Path, task: dict[str, Any], epochs: int, seed: int = 0) -> dict[str, Any]:
    """Build, train for seconds and measure; returns the metrics before and after, and the exported model's folder."""
    content = {
        "name": "small",
        "seed": seed,
        # A relative address is the same in every run, and with it the order of the samples.
        "corpus": {"sources": [{"uri": rows.name}], "lanes": 2},
        "tasks": {"it": task},
        "model": {"path": str(backbone), "max_tokens": 48},
        "train": {"epochs": epochs, "batch": 16, "lr": 5e-3, "workers": 1, "precision": "fp32"},
    }
    path = write_recipe(content, folder)
    os.chdir(folder)
    inputs = check(load_recipe(path), path)
    corpus = build(inputs.corpora["it"], folder / "home", Progress())
    labels, seed = corpus.manifest.labels, inputs.recipe.seed
    it = inputs.tasks["it"]
    before = of_split(lambda: load.new(inputs.recipe.model, it, labels, seed), it, corpus, "test", 1)
    section = inputs.recipe.tasks["it"].model_dump(mode="json")
    manifest = {"tasks": {"it": {"type": task["type"], "labels": labels, "section": section}}, "max_tokens": 48}
    run = runs.create(folder / "home", "small", "key")
    fit(inputs.recipe, {"it": corpus}, run, manifest, {"it": it.prepare(corpus).state}, Progress())
    after = of_model(run.model, {"it": corpus}, ("test",), 1)["test"]["it"].metrics
    return {"before": before.metrics, "after": after, "model": run.model, "corpus": corpus}


def text(*topics: str, number: int) -> str:
    """Two words of each topic, and a number that makes the text one of its own."""
    return " ".join([*(WORDS[topic][(number * k) % 6] for topic in topics for k in (1, 3)), str(number)])


@pytest.fixture(autouse=True)
def stays_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undoes changes of the folder."""
    monkeypatch.chdir(Path.cwd())


@pytest.mark.chaos
def test_several_labels_a_text(tmp_path: Path, backbone: Path, ray_up: str) -> None:
    path = tmp_path / "rows.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "topics"])
        for number in range(ROWS):
            topics = [topic for bit, topic in enumerate(TOPICS) if number % 7 + 1 >> bit & 1 and number % 8]
            writer.writerow([text(*topics, number=number), "; ".join(reversed(topics))])
    task = {"type": "sequence-classification", "label": "topics", "multi_label": True, "separator": ";"}
    # With half of the seeds so small a model takes twice as long to tell all three topics apart.
    found = tune(tmp_path, backbone, path, task, epochs=40, seed=1)
    assert found["corpus"].manifest.labels == TOPICS
    assert found["corpus"].manifest.funnel.quarantined == 0
    assert found["after"].keys() == {"micro_f1", "macro_f1", "exact_match", "roc_auc", "loss"}
    assert found["after"]["micro_f1"] > 0.9 and found["after"]["loss"] < found["before"]["loss"] / 2
    predictor = Predictor(found["model"])
    answers = predictor.predict(predictor.encode(["solar turbine vaccine nurse 3", "river well 4", "5"]))
    assert [answer["labels"] for answer in answers] == [["energy", "health"], ["water"], []]
    assert all(list(answer["probabilities"]) == TOPICS for answer in answers)


@pytest.mark.chaos
def test_numbers_in_units_of_their_own(tmp_path: Path, backbone: Path, ray_up: str) -> None:
    """One target is in the thousands, the other in thousandths: both are learnt, and answered in their own units."""
    level = {"energy": 52, "health": 47, "water": 50}
    path = tmp_path / "rows.jsonl"
    rows = [
        {"text": text(topic, number=n), "load": 1000 * level[topic] + n % 5, "price": f"{(50 - level[topic]) / 1000}"}
        for n, topic in enumerate(TOPICS * (ROWS // 3))
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = tune(tmp_path, backbone, path, {"type": "regression", "targets": ["load", "price"]}, epochs=12)
    assert found["before"]["r2_load"] < 0.3
    assert found["after"]["r2_load"] > 0.9 and found["after"]["r2_price"] > 0.9
    assert found["after"]["rmse_load"] < 500 and found["after"]["mae_price"] < 0.0005
    predictor = Predictor(found["model"])
    (answer,) = predictor.predict(predictor.encode(["grid volt 7"]))
    assert answer["values"]["load"] == pytest.approx(52000, abs=700)
    assert answer["values"]["price"] == pytest.approx(-0.002, abs=0.0007)
    # The scale is part of the model: without it the numbers mean nothing.
    state = package.read(found["model"])["state"]["it"]
    assert state["mean"][0] == pytest.approx(49667, abs=500) and state["sd"][0] == pytest.approx(2055, abs=200)


@pytest.mark.chaos
def test_queries_learn_to_find_their_documents(tmp_path: Path, backbone: Path, ray_up: str) -> None:
    """Words of a topic are to find its other words, which share no letter's piece with them but by chance."""
    path = tmp_path / "rows.jsonl"
    rows = [
        {"query": f"{words[i]} {words[j]}", "document": f"{words[k]} {words[m]}", "topic": topic}
        for topic, words in WORDS.items()
        for i, j in product(range(3), repeat=2)
        for k, m in product(range(3, 6), repeat=2)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"query": " ", "document": "x", "topic": "y"}]))
    task = {"type": "embedding", "group": "topic"}
    found = tune(tmp_path, backbone, path, task, epochs=8)
    assert found["corpus"].manifest.funnel.reasons == {"query is empty": 1}
    assert found["after"].keys() == {"recall_at_1", "recall_at_10", "mrr_at_10", "ndcg_at_10", "loss"}
    assert found["after"]["mrr_at_10"] > 0.95 > 0.8 > found["before"]["mrr_at_10"]
    predictor = Predictor(found["model"])
    answers = predictor.predict(predictor.encode(["solar grid wind", "turbine", "fever dose"]))
    solar, turbine, fever = (torch.tensor(answer["embedding"]) for answer in answers)
    assert solar.norm() == pytest.approx(1) and solar @ turbine > solar @ fever + 0.5


@pytest.mark.chaos
def test_a_language_model_learns_to_respond(tmp_path: Path, generative: Path, ray_up: str) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"prompt": f"{n} x", "response": "well well"} for n in range(ROWS)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {"type": "causal-lm", "prompt": "prompt", "response": "response"}
    found = tune(tmp_path, generative, path, task, epochs=3)
    assert found["after"].keys() == {"loss", "perplexity", "bits_per_byte"}
    assert found["before"]["perplexity"] > 20 and found["after"]["perplexity"] < 3
    predictor = Predictor(found["model"])
    assert predictor.predict(predictor.encode(["7 x"])) == [{"text": "well well"}]
