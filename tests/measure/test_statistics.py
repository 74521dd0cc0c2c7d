"""Metrics from sums are those of scikit-learn and seqeval, of all samples and of any resample."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import f1_score as entity_f1
from sklearn.metrics import accuracy_score, f1_score, log_loss, mean_absolute_error, r2_score, roc_auc_score

from gb_ray.tasks.section import RegressionSection, SequenceClassificationSection, TokenClassificationSection
from gb_ray.tasks.task import make

ONE = make(SequenceClassificationSection(type="sequence-classification"), "unused", 32)
MANY = make(SequenceClassificationSection(type="sequence-classification", multi_label=True), "unused", 32)
TAGS = make(TokenClassificationSection(type="token-classification"), "unused", 32)
NUMBERS = make(RegressionSection(type="regression", targets=["x"]), "u", 32, state={"mean": [3.0], "sd": [2.0]})
drawn = st.tuples(st.integers(2, 40), st.integers(2, 6), st.integers(0, 10_000))


def resample(random: np.random.Generator, samples: int) -> np.ndarray:
    return random.integers(0, samples, samples)


@given(drawn)
def test_one_label(case: tuple[int, int, int]) -> None:
    samples, labels, seed = case
    random = np.random.default_rng(seed)
    logits, truth = random.normal(size=(samples, labels)), random.integers(0, labels, samples)
    names = [str(i) for i in range(labels)]
    rows = resample(random, samples)
    found = ONE.from_sums(ONE.statistics(list(logits), list(truth), names)[rows].sum(axis=0), names)
    answers, scores = logits.argmax(axis=1), np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert found["accuracy"] == pytest.approx(accuracy_score(truth[rows], answers[rows]))
    assert found["macro_f1"] == pytest.approx(f1_score(truth[rows], answers[rows], average="macro"))
    assert found["loss"] == pytest.approx(log_loss(truth[rows], scores[rows], labels=range(labels)))
    whole = ONE.metrics(list(logits), list(truth), names)
    assert ("roc_auc" in whole) == (len(set(truth.tolist())) == labels)
    if "roc_auc" in whole:
        score = scores[:, 1] if labels == 2 else scores
        assert whole["roc_auc"] == pytest.approx(roc_auc_score(truth, score, multi_class="ovr"))


@given(drawn)
def test_many_labels(case: tuple[int, int, int]) -> None:
    samples, labels, seed = case
    random = np.random.default_rng(seed)
    # Rounded, so that some are equal.
    logits, truth = random.normal(size=(samples, labels)).round(1), random.random((samples, labels)) < 0.3
    names = [str(i) for i in range(labels)]
    rows = resample(random, samples)
    targets = [np.flatnonzero(row) for row in truth]
    found = MANY.from_sums(MANY.statistics(list(logits), targets, names)[rows].sum(axis=0), names)
    truth_drawn, answers = truth[rows], logits[rows] > 0
    assert found["micro_f1"] == pytest.approx(f1_score(truth_drawn, answers, average="micro", zero_division=0))
    occur = truth_drawn.any(axis=0) | answers.any(axis=0)
    each = f1_score(truth_drawn, answers, average=None, zero_division=0)
    assert found["macro_f1"] == pytest.approx(each[occur].mean() if occur.any() else 0)
    assert found["exact_match"] == pytest.approx(accuracy_score(truth_drawn, answers))
    counted = [i for i in range(labels) if 0 < truth[:, i].sum() < samples]
    areas = [roc_auc_score(truth[:, i], logits[:, i]) for i in counted]
    assert MANY.metrics(list(logits), targets, names).get("roc_auc", 0) == pytest.approx(np.mean(areas or [0]))


@given(st.integers(1, 25), st.integers(0, 10_000))
def test_tags(sentences: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    names = ["O", "B-LOC", "B-PER", "I-LOC", "I-PER"]
    targets = [random.choice([-100, 0, 0, 1, 2, 3, 4], random.integers(1, 12)) for _ in range(sentences)]
    logits = [
        np.eye(5)[np.where(random.random(len(t)) < 0.6, np.maximum(t, 0), random.integers(0, 5, len(t)))]
        for t in targets
    ]
    rows = resample(random, sentences)
    found = TAGS.from_sums(TAGS.statistics(logits, targets, names)[rows].sum(axis=0), names)
    truth = [[names[i] for i in targets[row] if i >= 0] for row in rows]
    answers = [[names[i] for i in logits[row][targets[row] >= 0].argmax(axis=1)] for row in rows]
    assert found["entity_f1"] == pytest.approx(entity_f1(truth, answers, zero_division=0))
    flat = [a == b for one, other in zip(truth, answers, strict=True) for a, b in zip(one, other, strict=True)]
    assert found["accuracy"] == pytest.approx(np.mean(flat) if flat else 0)


@given(st.integers(2, 40), st.integers(0, 10_000), st.floats(-1e4, 1e4))
def test_numbers(samples: int, seed: int, offset: float) -> None:
    random = np.random.default_rng(seed)
    truth, logits = random.normal(offset, 2, (samples, 1)), random.normal(offset, 2, (samples, 1))
    rows = resample(random, samples)
    found = NUMBERS.from_sums(NUMBERS.statistics(list((logits - 3) / 2), list(truth), [])[rows].sum(axis=0), [])
    assert found["mae_x"] == pytest.approx(mean_absolute_error(truth[rows], logits[rows]))
    if len(set(rows.tolist())) > 1:
        assert found["r2_x"] == pytest.approx(r2_score(truth[rows], logits[rows]), rel=1e-5)
    else:
        assert np.isnan(found["r2_x"])


@given(drawn)
def test_many_sums_at_once_give_what_each_gives(case: tuple[int, int, int]) -> None:
    samples, labels, seed = case
    random = np.random.default_rng(seed)
    names = [str(i) for i in range(labels)]
    logits, truth = random.normal(size=(samples, labels)), random.integers(0, labels, samples)
    sums = random.integers(0, 3, (2, 3, samples)) @ ONE.statistics(list(logits), list(truth), names)
    with np.errstate(invalid="ignore"):
        together = ONE.from_sums(sums, names)
        for i in range(2):
            for j in range(3):
                one = ONE.from_sums(sums[i, j], names)
                assert all(np.allclose(together[name][i, j], one[name], equal_nan=True) for name in one)
