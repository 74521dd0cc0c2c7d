"""One label a text: what is refused, what a label is called, and metrics that are those of scikit-learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, log_loss, roc_auc_score

from gb_ray.corpus.encoder import Reject
from gb_ray.tasks.section import SequenceClassificationSection
from gb_ray.tasks.sequence_classification import SequenceClassification


def make(backbone: Path | str = "unused", max_tokens: int = 16, **keys: Any) -> SequenceClassification:
    section = SequenceClassificationSection(type="sequence-classification", **keys)
    return SequenceClassification(section, str(backbone), max_tokens, min_chars=3)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def drawn(rows: int, labels: int, seed: int = 0) -> tuple[np.ndarray, list[int]]:
    random = np.random.default_rng(seed)
    truth = [i % labels for i in range(rows)]
    logits = random.normal(size=(rows, labels)) + 1.5 * np.eye(labels)[truth]
    return logits.astype(np.float32), truth


@pytest.mark.parametrize(
    ("value", "name"),
    [(3, "3"), (3.0, "3"), ("3", "3"), (True, "True"), (" a  b\n", "a b"), ("e\u0301", "é"), (-1, "-1")],
)
def test_a_label_is_called_the_same_whatever_type_the_file_has_it_in(value: Any, name: str) -> None:
    assert make().clean({"text": "hello", "label": value}) == {"text": "hello", "label_name": name}


@pytest.mark.parametrize(
    "value", [None, "", "  ", 0.5, float("nan"), float("inf"), "a\x00", "\udcff", ["a"], {"a": 1}, b"a"]
)
def test_what_is_no_label_is_refused_with_the_column(value: Any) -> None:
    with pytest.raises(Reject, match=r"^label "):
        make().clean({"text": "hello", "label": value})


@pytest.mark.parametrize("value", [None, "", " \n ", "ab", "a\x00bc", "ab\udcff", 7, b"abc", ["abc"]])
def test_what_is_no_text_is_refused_with_the_column(value: Any) -> None:
    with pytest.raises(Reject, match=r"^text "):
        make().clean({"text": value, "label": "a"})


def test_the_reasons_of_many_bad_labels_are_few() -> None:
    """Reasons are counted; a reason a row would be no account."""
    reasons = set()
    for i in range(50):
        with pytest.raises(Reject) as caught:
            make().clean({"text": "hello", "label": i + 0.5})
        reasons.add(str(caught.value))
    assert len(reasons) == 1


def test_a_label_outside_the_recipes_set_is_refused() -> None:
    with pytest.raises(Reject, match="label is outside the label set"):
        make(labels=["a", "b"]).clean({"text": "hello", "label": "c"})


def test_every_label_the_recipe_names_is_a_label_though_no_row_has_it() -> None:
    assert make(labels=["a", "b", "c"]).labels_of({"text": "hello", "label_name": "a"}) == {"a", "b", "c"}
    assert make().labels_of({"text": "hello", "label_name": "a"}) == {"a"}


def test_a_sample_is_cut_and_carries_its_labels_number(backbone: Path) -> None:
    rows = [{"text": "grid solar", "label_name": "b"}, {"text": "grid " * 50, "label_name": "a"}]
    found = make(backbone, max_tokens=8).encode(rows, ["a", "b"])
    assert [len(ids) for ids in found["input_ids"]] == [4, 8]
    assert found["label"] == [1, 0]


def test_a_text_to_be_answered_is_read_as_a_sample_is(byte_level: Path) -> None:
    task = make(byte_level, max_tokens=64)
    raw = "  grid\n\nLondon \u00a0 cafe\u0301  "
    clean = task.clean({"text": raw, "label": "a"})
    assert task.read([raw])[0][0] == task.encode([clean], ["a"])["input_ids"][0].as_py()


@pytest.mark.parametrize("labels", [2, 5])
def test_metrics_are_those_of_scikit_learn(labels: int) -> None:
    logits, truth = drawn(60, labels)
    scores = softmax(logits.astype(np.float64))
    score = scores[:, 1] if labels == 2 else scores
    assert make().metrics(list(logits), truth, [str(i) for i in range(labels)]) == pytest.approx(
        {
            "accuracy": accuracy_score(truth, scores.argmax(axis=1)),
            "macro_f1": f1_score(truth, scores.argmax(axis=1), average="macro"),
            "loss": log_loss(truth, scores),
            "roc_auc": roc_auc_score(truth, score, multi_class="ovr"),
        }
    )


def test_known_metrics_by_hand() -> None:
    logits = [np.array(row, np.float32) for row in ([9, 0], [0, 9], [0, 9], [0, 9])]
    found = make().metrics(logits, [0, 0, 1, 1], ["a", "b"])
    assert (found["accuracy"], found["roc_auc"]) == (0.75, 0.75)
    assert found["macro_f1"] == pytest.approx((2 / 3 + 4 / 5) / 2)


def test_a_label_without_a_sample_leaves_roc_auc_out_and_macro_f1_over_those_that_occur() -> None:
    logits, truth = drawn(40, 2)
    wider = np.concatenate([logits, np.full((40, 1), -50, np.float32)], axis=1)
    found = make().metrics(list(wider), truth, ["a", "b", "c"])
    assert "roc_auc" not in found
    assert found["macro_f1"] == pytest.approx(f1_score(truth, logits.argmax(axis=1), average="macro"))


@given(st.integers(1, 12), st.integers(2, 6), st.integers(0, 99), st.data())
def test_the_loss_is_a_sum_so_that_any_split_adds_up_to_it(
    rows: int, labels: int, seed: int, data: st.DataObject
) -> None:
    logits, truth = drawn(rows, labels, seed)
    cut = data.draw(st.integers(0, rows))
    task, table, targets = make(), torch.from_numpy(logits), make().targets(list(truth), 0)
    whole = task.loss(table, targets)
    parts = task.loss(table[:cut], targets[:cut]) + task.loss(table[cut:], targets[cut:])
    expected = -np.log(softmax(logits.astype(np.float64))[np.arange(rows), truth]).sum()
    assert whole.ndim == 0
    assert float(whole) == pytest.approx(expected, rel=1e-4)
    assert float(parts) == pytest.approx(expected, rel=1e-4)


@given(st.lists(st.floats(-1000, 1000, width=32), min_size=2, max_size=6))
def test_an_answer_is_the_likeliest_label_with_probabilities_that_add_up(scores: list[float]) -> None:
    labels = [f"l{i}" for i in range(len(scores))]
    answer = make().answer("text", [], np.array(scores, np.float32), labels)
    assert answer["probabilities"][answer["label"]] == max(answer["probabilities"].values())
    assert list(answer["probabilities"]) == labels
    assert sum(answer["probabilities"].values()) == pytest.approx(1)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
def test_smoothed_labels_are_certain_but_for_a_share_that_all_labels_have_alike(share: float) -> None:
    logits, truth = drawn(20, 5)
    wanted = (1 - share) * np.eye(5)[truth] + share / 5
    expected = -(wanted * np.log(softmax(logits.astype(np.float64)))).sum()
    loss = make(label_smoothing=share).loss(torch.from_numpy(logits), torch.tensor(truth))
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_how_it_is_learnt_makes_no_other_corpus() -> None:
    assert make(label_smoothing=0.1).fingerprint() == make().fingerprint()
