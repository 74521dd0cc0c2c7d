"""Several models measured as one: the metrics are those of the mean of their probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gb_ray.measure.ensemble import together
from gb_ray.measure.scores import Scores
from gb_ray.tasks.section import RegressionSection, SequenceClassificationSection, TokenClassificationSection
from gb_ray.tasks.task import Task, make

TOPIC = SequenceClassificationSection(type="sequence-classification")
TOPICS = SequenceClassificationSection(type="sequence-classification", multi_label=True)
TAGS = TokenClassificationSection(type="token-classification")
NUMBER = RegressionSection(type="regression", targets=["load"])
STATE = {"mean": [10.0], "sd": [2.0]}
KINDS: dict[str, tuple[Any, list[str], tuple[int, ...], list[Any]]] = {
    "topic": (TOPIC, ["a", "b", "c"], (3,), [0, 1, 2, 0]),
    "topics": (TOPICS, ["a", "b", "c"], (3,), [[0], [1, 2], [], [0, 1]]),
    "tags": (TAGS, ["O", "B-LOC", "I-LOC"], (5, 3), [np.array([-100, 1, 2, 0, -100], np.int32)] * 4),
    "number": (NUMBER, [], (1,), [np.array([value], np.float32) for value in (8.0, 9.0, 12.0, 13.0)]),
}


def scores(kind: str, seed: int) -> Scores:
    _, labels, shape, targets = KINDS[kind]
    task = task_of(kind)
    logits = list(3 * np.random.default_rng(seed).normal(size=(4, *shape)).astype(np.float32))
    about = pa.table({"id": [str(i) for i in range(4)]})
    return Scores(task, labels, about, task.statistics(logits, targets, labels), targets, logits)


def task_of(kind: str) -> Task:
    return make(KINDS[kind][0], "unused", 32, state=STATE if kind == "number" else None)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_beside_itself_is_itself(kind: str) -> None:
    one = scores(kind, 0)
    assert together([one, one, one]).metrics == pytest.approx(one.metrics, abs=2e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_the_mean_of_the_answers(kind: str) -> None:
    parts = [scores(kind, seed) for seed in range(3)]
    found = together(parts)
    assert found.logits is not None
    each = [part.logits or [] for part in parts]
    for number, own in enumerate(found.logits):
        expected = np.mean([answer(kind, logits[number]) for logits in each], axis=0)
        np.testing.assert_allclose(answer(kind, own), expected, rtol=1e-6)
    assert not np.allclose(found.statistics, parts[0].statistics)


def answer(kind: str, logits: Any) -> Any:
    """Probabilities, or numbers."""
    powers = np.exp(np.asarray(logits, np.float64))
    if kind == "number":
        return logits
    return powers / (1 + powers) if kind == "topics" else powers / powers.sum(axis=-1, keepdims=True)
