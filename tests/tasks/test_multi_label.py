"""Any number of labels a text: what is refused, what a row without labels is, and metrics that are scikit-learn's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn.metrics import f1_score, log_loss, roc_auc_score

from gb_ray.corpus.encoder import Reject
from gb_ray.tasks.multi_label import MultiLabel
from gb_ray.tasks.section import SequenceClassificationSection
from gb_ray.tasks.task import make as make_task


def make(backbone: Path | str = "unused", max_tokens: int = 16, **keys: Any) -> MultiLabel:
    section = SequenceClassificationSection(type="sequence-classification", multi_label=True, **keys)
    task = make_task(section, str(backbone), max_tokens)
    assert isinstance(task, MultiLabel)
    return task


def drawn(rows: int, labels: int, seed: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Logits, and which labels each sample has; every label is on some samples and not on others."""
    random = np.random.default_rng(seed)
    table = random.random((rows, labels)) < 0.3
    table[0], table[1] = True, False
    logits = random.normal(size=(rows, labels)) + 2 * table - 1
    return logits.astype(np.float32), [np.flatnonzero(row).astype(np.int32) for row in table]


def hot(targets: list[np.ndarray], labels: int) -> np.ndarray:
    return np.array([[i in target for i in range(labels)] for target in targets])


@pytest.mark.parametrize(
    ("keys", "value", "names"),
    [
        ({}, ["b", "a", "b"], ["a", "b"]),
        ({}, [], []),
        ({}, [1, 2.0, " x "], ["1", "2", "x"]),
        ({"separator": ";"}, "b; a;b", ["a", "b"]),
        ({"separator": ";"}, "", []),
        ({"separator": " ; "}, "one;two ; three", ["one;two", "three"]),
        ({"separator": ";"}, ["a;b"], ["a;b"]),
    ],
)
def test_labels_come_sorted_and_each_once(keys: dict[str, Any], value: Any, names: list[str]) -> None:
    assert make(**keys).clean({"text": "hello", "label": value}) == {"text": "hello", "label_names": names}


@pytest.mark.parametrize(
    ("keys", "value", "reason"),
    [
        ({}, None, "label is null, expected a list"),
        ({"separator": ";"}, None, "label is null, expected a list"),
        ({}, "a;b", "label is str, expected a list"),
        ({}, {"a": 1}, "label is dict, expected a list"),
        ({}, ["a", None], "label is null"),
        ({}, [""], "label is empty"),
        ({}, [["a"]], "label is list, expected text"),
        ({"labels": ["a", "b"]}, ["a", "c"], "label has a label outside the label set"),
    ],
)
def test_what_is_no_list_of_labels_is_refused(keys: dict[str, Any], value: Any, reason: str) -> None:
    """A row of which the labels are not known is not one without labels."""
    with pytest.raises(Reject) as caught:
        make(**keys).clean({"text": "hello", "label": value})
    assert str(caught.value) == reason


def test_a_separator_without_multi_label_is_refused() -> None:
    with pytest.raises(ValidationError, match="multi_label"):
        SequenceClassificationSection(type="sequence-classification", separator=";")


def test_a_sample_carries_the_numbers_of_its_labels(backbone: Path) -> None:
    rows = [{"text": "grid", "label_names": ["c", "a"]}, {"text": "solar", "label_names": []}]
    assert make(backbone).encode(rows, ["a", "b", "c"])["label"].to_pylist() == [[0, 2], []]


def test_rows_with_the_same_set_of_labels_are_one_stratum() -> None:
    task = make()
    strata = {task.stratum({"text": "t", "label_names": names}) for names in ([], ["a"], ["a", "b"], ["a b"], ["b"])}
    assert len(strata) == 5


@given(st.integers(2, 12), st.integers(1, 6), st.integers(0, 99), st.data())
def test_the_loss_is_the_mean_over_labels_summed_over_samples(
    rows: int, labels: int, seed: int, data: st.DataObject
) -> None:
    """However a batch is split its parts add up, and divided by its samples it is the mean over both."""
    logits, targets = drawn(rows, labels, seed)
    cut = data.draw(st.integers(0, rows))
    task = make()

    def loss(part: slice) -> float:
        return float(task.loss(torch.from_numpy(logits[part]), task.targets(targets[part], 0)))

    scores = 1 / (1 + np.exp(-logits.astype(np.float64)))
    expected = log_loss(hot(targets, labels).ravel(), scores.ravel(), labels=[0, 1])
    assert loss(slice(None)) / rows == pytest.approx(expected, rel=1e-4)
    assert loss(slice(cut)) + loss(slice(cut, None)) == pytest.approx(loss(slice(None)), rel=1e-4)
    assert sum(task.supervised(target) for target in targets) == rows


@pytest.mark.parametrize("labels", [1, 2, 7])
def test_metrics_are_those_of_scikit_learn(labels: int) -> None:
    logits, targets = drawn(60, labels, 0)
    truth = hot(targets, labels)
    scores = 1 / (1 + np.exp(-logits.astype(np.float64)))
    f1 = [f1_score(truth[:, i], scores[:, i] > 0.5) for i in range(labels)]
    assert make().metrics(list(logits), targets, [str(i) for i in range(labels)]) == pytest.approx(
        {
            "micro_f1": f1_score(truth.ravel(), scores.ravel() > 0.5),
            "macro_f1": np.mean(f1),
            "exact_match": np.mean([(a == b).all() for a, b in zip(truth, scores > 0.5, strict=True)]),
            "roc_auc": np.mean([roc_auc_score(truth[:, i], scores[:, i]) for i in range(labels)]),
            "loss": log_loss(truth.ravel(), scores.ravel()),
        }
    )


def test_known_metrics_by_hand() -> None:
    """Label c occurs nowhere, b on every sample: neither has a roc_auc, and c counts in no F1."""
    logits = [np.array(row, np.float32) for row in ([9, 9, -9], [9, 9, -9], [-9, 9, -9])]
    targets = [np.array(numbers, np.int32) for numbers in ([0, 1], [1], [1])]
    found = make().metrics(logits, targets, ["a", "b", "c"])
    assert found["micro_f1"] == pytest.approx(8 / 9)
    assert found["macro_f1"] == pytest.approx((2 / 3 + 1) / 2)
    assert (found["exact_match"], found["roc_auc"]) == (pytest.approx(2 / 3), pytest.approx(0.75))


def test_nothing_to_find_and_nothing_found() -> None:
    found = make().metrics([np.array([-9, -9], np.float32)], [np.empty(0, np.int32)], ["a", "b"])
    assert (found["micro_f1"], found["macro_f1"], found["exact_match"]) == (0, 0, 1)
    assert "roc_auc" not in found


@given(st.lists(st.floats(-1000, 1000, width=32), min_size=1, max_size=6))
def test_an_answer_has_the_labels_above_a_half(logits: list[float]) -> None:
    labels = [f"l{i}" for i in range(len(logits))]
    answer = make().answer("text", [], np.array(logits, np.float32), labels)
    assert list(answer["probabilities"]) == labels
    assert all(0 <= score <= 1 for score in answer["probabilities"].values())
    above = {name for name, score in answer["probabilities"].items() if score > 0.5}
    # A logit next to 0 has a probability that rounds to one half.
    assert above <= set(answer["labels"]) <= {name for name, logit in zip(labels, logits, strict=True) if logit > 0}
