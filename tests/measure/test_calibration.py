"""A temperature makes probabilities honest and changes no answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_ray.measure import calibration, results, table
from gb_ray.measure.scores import Scores
from gb_ray.model import load, package
from gb_ray.model.predictor import Predictor
from gb_ray.model.section import ModelSection
from gb_ray.tasks.section import RegressionSection, SequenceClassificationSection, TokenClassificationSection
from gb_ray.tasks.task import Task, make
from gb_ray.tasks.tokenizer import tokenizer

LABELS = ["energy", "health", "water"]
TOPICS = make(SequenceClassificationSection(type="sequence-classification"), "unused", 32)
MANY = make(SequenceClassificationSection(type="sequence-classification", multi_label=True), "unused", 32)
TAGS = make(TokenClassificationSection(type="token-classification"), "unused", 32)


def decisions(seed: int, count: int, heat: float) -> calibration.Decisions:
    """Of a model whose logits, divided by `heat`, are those that its answers are drawn from."""
    random = np.random.default_rng(seed)
    honest = random.normal(0, 1.5, (count, 4))
    chances = np.exp(honest) / np.exp(honest).sum(axis=1, keepdims=True)
    return honest * heat, (random.random((count, 1)) > chances.cumsum(axis=1)).sum(axis=1)


def scores(task: Task, logits: list[Any], targets: list[Any]) -> Scores:
    labels = ["O", "B-A", "I-A"] if task is TAGS else LABELS
    about = pa.table({"id": [f"{i:04d}" for i in range(len(targets))]})
    return Scores(task, labels, about, task.statistics(logits, targets, labels), targets, logits)


@pytest.mark.parametrize("heat", [0.3, 1.0, 4.0])
def test_the_temperature_is_found_by_which_a_model_exaggerates(heat: float) -> None:
    assert calibration.temperature(decisions(0, 4000, heat)) == pytest.approx(heat, rel=0.1)


@given(st.integers(0, 999), st.integers(1, 60), st.floats(0.1, 10))
def test_likelihood_never_falls_where_it_was_fitted_and_no_answer_changes(seed: int, count: int, heat: float) -> None:
    given_ = decisions(seed, count, heat)
    found = calibration.temperature(given_)
    assert calibration.nll(given_, found) <= calibration.nll(given_, 1.0)
    assert found > 0
    assert ((given_[0] / found).argmax(axis=1) == given_[0].argmax(axis=1)).all()


def test_the_error_on_samples_that_were_not_fitted_falls_to_less_than_half() -> None:
    for heat in (0.3, 4.0):
        found = calibration.temperature(decisions(0, 500, heat))
        other = decisions(1, 2000, heat)
        assert calibration.ece(other, found) < calibration.ece(other, 1.0) / 2


def test_bins_hold_as_many_decisions_each_and_all_of_them() -> None:
    found = calibration.bins(decisions(0, 100, 1.0), 1.0)
    assert len(found) == calibration.BINS and sum(one["count"] for one in found) == 100
    assert {one["count"] for one in found} == {6, 7}
    assert [one["confidence"] for one in found] == sorted(one["confidence"] for one in found)


def test_the_error_by_hand() -> None:
    """Sure of 0.9 each, right in one of two."""
    logits = np.log(np.array([[0.9, 0.1], [0.9, 0.1]]))
    assert calibration.ece((logits, np.array([0, 0])), 1.0) == pytest.approx(0.1)
    assert calibration.ece((logits, np.array([0, 1])), 1.0) == pytest.approx((0.1 + 0.9) / 2)


def test_an_honest_model_has_the_error_of_luck_and_no_less() -> None:
    for count in (60, 6000):
        found = [calibration.ece(decisions(seed, count, 1.0), 1.0) for seed in range(40)]
        assert np.mean(found) == pytest.approx(calibration.luck(decisions(0, count, 1.0), 1.0), rel=0.15)


def test_every_kind_of_classification_is_calibrated_and_numbers_are_not() -> None:
    random = np.random.default_rng(0)
    truth = random.integers(0, 3, 200)
    hot = 8 * np.eye(3)[np.where(random.random(200) < 0.7, truth, random.integers(0, 3, 200))]
    hot = hot + random.normal(size=hot.shape)
    one = scores(TOPICS, list(hot), list(truth))
    many = scores(MANY, list(hot - 4), [np.array([label]) for label in truth])
    tags = scores(TAGS, [hot[i : i + 5] for i in range(0, 200, 5)], [truth[i : i + 5] for i in range(0, 200, 5)])
    for found in (
        calibration.calibrate(one, one),
        calibration.calibrate(many, many),
        calibration.calibrate(tags, tags),
    ):
        assert found is not None and found["temperature"] > 1.5
        assert found["test_ece"]["after"] < found["test_ece"]["before"]
    numbers = make(RegressionSection(type="regression", targets=["x"]), "u", 32, state={"mean": [0.0], "sd": [1.0]})
    values = scores(numbers, list(random.normal(size=(20, 1))), list(random.normal(size=(20, 1))))
    assert calibration.calibrate(values, values) is None
    few = scores(TOPICS, list(hot[:99]), list(truth[:99]))
    assert calibration.calibrate(few, one) is None


def exaggerating(samples: int, seed: int) -> Scores:
    """Of a model that is far too sure."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, 3, samples)
    logits = 6 * np.eye(3)[np.where(random.random(samples) < 0.7, truth, random.integers(0, 3, samples))]
    found = scores(TOPICS, list(logits + random.normal(size=logits.shape)), truth.tolist())
    about = {"source": ["one.csv"] * samples, "language": ["en"] * samples, "tokens": [9] * samples}
    return replace(found, about=pa.table({"id": found.about["id"], **about}))


def test_a_run_and_evaluate_tell_the_same_of_a_calibrated_model(export: Callable[..., Path]) -> None:
    """Metrics are of what it answers, and the error before and after is found again in another process."""
    model = export("model", SequenceClassificationSection(type="sequence-classification"), LABELS)
    raw = {"validation": {"it": exaggerating(200, 0)}, "test": {"it": exaggerating(300, 1)}}
    run, found = results.calibrated(model, raw)
    fitted = found["it"]
    assert package.temperature(package.read(model), "it") == fitted["temperature"] > 1.5
    again = raw["test"]["it"].cooled(package.temperature(package.read(model), "it"))
    assert [one.dtype for one in again.logits] == [one.dtype for one in raw["test"]["it"].logits]
    assert run["test"]["it"].metrics == again.metrics
    assert again.metrics["loss"] == pytest.approx(fitted["test_nll"]["after"], abs=2e-6)
    assert again.metrics["accuracy"] == raw["test"]["it"].metrics["accuracy"]
    account = results.alone({"test": {"it": again}})
    error = account["calibration"]["test"]["it"]["ece"]
    assert error == pytest.approx(fitted["test_ece"], abs=2e-6) and error["after"] < error["before"]
    shown = f"calibration error {error['before']:.3f}, {error['after']:.3f} with its temperature"
    assert any(shown in line for line in table.alone_lines(account))
    beside = account | results.beside({"test": {"it": raw["test"]["it"]}}, {"test": {"it": again}})
    lines = table.against_lines(beside | {"against": {"uri": "models:/m/1"}, "model": {"uri": "models:/m/2"}})
    assert f"  A: calibration error {error['before']:.3f}; " in "\n".join(lines)
    assert f"  B: {shown}" in "\n".join(lines)


def test_an_exported_model_answers_with_its_temperature(backbone: Path, tmp_path: Path) -> None:
    section = SequenceClassificationSection(type="sequence-classification")
    task = make(section, str(backbone), 32)
    model = load.new(ModelSection(path=str(backbone)), task, LABELS, 0)
    described = {"type": section.type, "labels": LABELS, "section": section.model_dump(mode="json")}
    package.export(
        model,
        tokenizer(str(backbone)),
        {"name": "topics", "tasks": {"topic": described}, "max_tokens": 32, "state": {"topic": {}}},
        tmp_path / "model",
    )
    texts = ["solar grid", "river flood", "nurse"]

    def answers() -> list[dict[str, Any]]:
        predictor = Predictor(tmp_path / "model")
        return predictor.predict(predictor.encode(texts))

    plain = answers()
    package.calibrate(tmp_path / "model", "topic", 0.25)
    scaled = answers()
    for before, after in zip(plain, scaled, strict=True):
        assert after["label"] == before["label"]
        powers = np.array(list(before["probabilities"].values())) ** 4  # a quarter of the temperature
        assert list(after["probabilities"].values()) == pytest.approx((powers / powers.sum()).tolist(), rel=1e-4)
