"""Rare labels: focal loss and class weights are their formulas, for every task that chooses among labels."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from gb_ray.corpus.corpus import Corpus
from gb_ray.section import UserError
from gb_ray.tasks.section import SequenceClassificationSection, TokenClassificationSection
from gb_ray.tasks.task import make as make_task

sys.path.append(str(Path(__file__).parent.parent / "corpus"))

from synthetic import make_corpus

GAMMAS = [0.0, 0.5, 2.0]
WEIGHTS = np.array([0.5, 3.0, 1.0])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Its labels are energy, health and water, of which the train split has no two as often."""
    return make_corpus(tmp_path_factory.mktemp("rare") / "corpus", {"train": [(1.0, 40)], "validation": [(1.0, 9)]})


def make(kind: str = "sequence", state: dict[str, Any] | None = None, **keys: Any) -> Any:
    if kind == "token":
        return make_task(TokenClassificationSection(type="token-classification", **keys), "unused", 16, state=state)
    return make_task(SequenceClassificationSection(type="sequence-classification", **keys), "unused", 16, state=state)


def formula(right: np.ndarray, gamma: float, weights: Any = 1.0) -> float:
    return float(-(weights * (1 - right) ** gamma * np.log(right)).sum())


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits.astype(np.float64))
    return powers / powers.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_of_one_label_a_text(gamma: float) -> None:
    logits = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    truth = np.arange(20) % 4
    loss = make(focal=gamma).loss(torch.from_numpy(logits), torch.from_numpy(truth))
    assert float(loss) == pytest.approx(formula(softmax(logits)[np.arange(20), truth], gamma), rel=1e-5)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_of_any_number_of_labels_a_text(gamma: float) -> None:
    logits = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    task = make(multi_label=True, focal=gamma)
    table = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1], [0, 1, 0], [0, 0, 1]])
    loss = task.loss(torch.from_numpy(logits), task.targets([np.flatnonzero(row) for row in table], 0))
    chance = 1 / (1 + np.exp(-logits.astype(np.float64)))
    assert float(loss) == pytest.approx(formula(np.where(table, chance, 1 - chance), gamma) / 3, rel=1e-5)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_of_words_of_which_some_are_not_asked(gamma: float) -> None:
    logits = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
    truth = np.array([[0, -100, 2, 1, 0], [1, 1, -100, -100, 2]])
    loss = make("token", focal=gamma).loss(torch.from_numpy(logits), torch.from_numpy(truth))
    asked = truth >= 0
    right = np.take_along_axis(softmax(logits)[asked], truth[asked][:, None], axis=1)
    assert float(loss) == pytest.approx(formula(right, gamma), rel=1e-5)


def test_certain_answers_have_a_finite_gradient() -> None:
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    make(focal=0.5).loss(logits, torch.tensor([0, 0])).backward()
    assert logits.grad is not None and bool(logits.grad.isfinite().all())


def test_it_makes_no_other_corpus_and_is_not_smoothed() -> None:
    assert make(focal=2.0).fingerprint() == make().fingerprint()
    assert make("token", focal=2.0).fingerprint() == make("token").fingerprint()
    assert make(class_weights="balanced").fingerprint() == make().fingerprint()
    assert make("token", class_weights="balanced").fingerprint() == make("token").fingerprint()
    with pytest.raises(ValidationError, match="focal: goes without label_smoothing"):
        make(focal=2.0, label_smoothing=0.1)


@pytest.mark.parametrize("kind", ["sequence", "token"])
def test_balanced_answers_of_every_label_count_the_same_in_all_and_the_mean_stays(kind: str, corpus: Corpus) -> None:
    counts = corpus.manifest.splits["train"].labels
    assert len(set(counts.values())) > 1
    weights = make(kind, class_weights="balanced").prepare(corpus).state["class_weights"]
    totals = [weight * counts[label] for weight, label in zip(weights, corpus.manifest.labels, strict=True)]
    assert totals == pytest.approx([sum(counts.values()) / 3] * 3)


def test_balanced_labels_of_any_number_count_as_much_where_they_are_as_where_they_are_not(corpus: Corpus) -> None:
    split = corpus.manifest.splits["train"]
    weights = make(multi_label=True, class_weights="balanced").prepare(corpus).state["class_weights"]
    for weight, label in zip(weights, corpus.manifest.labels, strict=True):
        assert weight * split.labels[label] == pytest.approx(split.samples - split.labels[label])


@pytest.mark.parametrize("kind", ["sequence", "token"])
def test_weights_by_name_are_those_of_the_labels_and_others_count_1(kind: str, corpus: Corpus) -> None:
    task = make(kind, class_weights={"water": 5.0}).prepare(corpus)
    assert task.state == {"class_weights": [1.0, 1.0, 5.0]}
    assert make(kind).prepare(corpus).state == {}
    with pytest.raises(UserError, match="no label 'wind'; it has energy, health, water"):
        make(kind, class_weights={"wind": 2.0}).prepare(corpus)
    with pytest.raises(ValidationError, match="greater than 0"):
        make(kind, class_weights={"water": 0.0})


@pytest.mark.parametrize("gamma", GAMMAS)
def test_an_answer_counts_by_the_weight_of_its_label(gamma: float) -> None:
    logits = np.random.default_rng(1).normal(size=(20, 3)).astype(np.float32)
    truth, keys = np.arange(20) % 3, {"state": {"class_weights": WEIGHTS.tolist()}, "focal": gamma}
    expected = formula(softmax(logits)[np.arange(20), truth], gamma, WEIGHTS[truth])
    loss = make(**keys).loss(torch.from_numpy(logits), torch.from_numpy(truth))
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    # As words, of which every other token is not asked.
    row, tags = np.zeros((1, 40, 3), np.float32), np.full((1, 40), -100)
    row[0, ::2], tags[0, ::2] = logits, truth
    loss = make("token", **keys).loss(torch.from_numpy(row), torch.from_numpy(tags))
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_that_a_label_is_there_counts_by_its_weight_and_that_it_is_not_counts_1(gamma: float) -> None:
    logits = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    task = make(multi_label=True, state={"class_weights": WEIGHTS.tolist()}, focal=gamma)
    table = np.array([[0, 0, 0], [1, 0, 1], [1, 1, 0], [0, 1, 1]])
    loss = task.loss(torch.from_numpy(logits), task.targets([np.flatnonzero(row) for row in table], 0))
    chance = 1 / (1 + np.exp(-logits.astype(np.float64)))
    weights = np.where(table, WEIGHTS, 1.0)
    expected = formula(np.where(table, chance, 1 - chance), gamma, weights) / 3
    assert float(loss) == pytest.approx(expected, rel=1e-5)
