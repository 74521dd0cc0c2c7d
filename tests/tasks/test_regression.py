"""Numbers a text: what is a number, one scale for every unit, and metrics in the targets' own."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from gb_ray.corpus.encoder import Reject
from gb_ray.section import UserError
from gb_ray.tasks.regression import Regression
from gb_ray.tasks.scale import measure
from gb_ray.tasks.section import RegressionSection

STATE = {"mean": [1000.0, -0.5], "sd": [200.0, 0.01]}


def make(backbone: Path | str = "unused", **keys: Any) -> Regression:
    section = RegressionSection(type="regression", targets=["load", "price"])
    return Regression(section, str(backbone), 16, **keys)


@pytest.mark.parametrize(
    ("value", "number"),
    [(3, 3.0), (-2.5, -2.5), (" 1.5e3 ", 1500.0), ("-.5", -0.5), ("+7.", 7.0), (Decimal("0.25"), 0.25), ("٣", 3.0)],
)
def test_numbers_are_read_in_whatever_form_the_file_has_them(value: Any, number: float) -> None:
    assert make().clean({"text": "t", "load": value, "price": 0}) == {"text": "t", "targets": [number, 0.0]}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "load is null"),
        ("", "load is empty"),
        ("  ", "load is empty"),
        ("1,5", "load is text that is not a number"),
        ("1_000", "load is text that is not a number"),
        ("nan", "load is text that is not a number"),
        ("0x10", "load is text that is not a number"),
        ("1e999", "load is not finite, or too large"),
        (float("nan"), "load is not finite, or too large"),
        (float("-inf"), "load is not finite, or too large"),
        (10**400, "load is not finite, or too large"),
        (1e39, "load is not finite, or too large"),
        (Decimal("NaN"), "load is not finite, or too large"),
        (True, "load is bool, expected a number"),
        ([1], "load is list, expected a number"),
    ],
)
def test_what_is_no_number_is_refused(value: Any, reason: str) -> None:
    with pytest.raises(Reject) as caught:
        make().clean({"text": "t", "load": value, "price": 0})
    assert str(caught.value) == reason


@pytest.mark.parametrize("targets", [[], ["a", "a"], ["load (MW)"], [""]])
def test_targets_that_cannot_be_told_apart_or_named_in_metrics_are_refused(targets: list[str]) -> None:
    with pytest.raises(ValidationError, match="targets"):
        RegressionSection(type="regression", targets=targets)


def test_a_sample_has_its_numbers_in_the_recipes_order(backbone: Path) -> None:
    fields = make().clean({"price": "2", "load": "1", "text": "grid"})
    assert make(backbone).encode([fields], [])["label"] == [[1.0, 2.0]]


def test_the_model_has_an_output_a_target_in_the_recipes_order() -> None:
    assert make().head([])["id2label"] == {0: "load", 1: "price"}


@given(
    st.lists(st.tuples(st.floats(-1e6, 1e6, width=32), st.floats(1e6, 1e6 + 100, width=32)), min_size=2, max_size=50),
    st.integers(1, 7),
)
def test_the_scale_is_that_of_all_rows_at_once(rows: list[tuple[float, float]], chunk: int) -> None:
    """However many are read at a time, and far from 0 too."""
    table = np.array(rows, np.float32)
    if (table.min(axis=0) == table.max(axis=0)).any():
        with pytest.raises(UserError, match="the same in every row"):
            measure(list(table), ["a", "b"], chunk)
        return
    found = measure(list(table), ["a", "b"], chunk)
    wide = table.astype(np.float64)
    assert np.allclose(found.mean, wide.mean(axis=0), rtol=1e-12, atol=1e-9)
    assert np.allclose(found.sd, wide.std(axis=0), rtol=1e-9)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=2))
def test_own_units_come_back(values: list[float]) -> None:
    found = make(state=STATE).scale
    assert np.allclose(found.own(found.standard(np.array(values))), values)


@given(st.integers(1, 12), st.integers(0, 99), st.data())
def test_the_loss_is_the_mean_over_targets_summed_over_samples(rows: int, seed: int, data: st.DataObject) -> None:
    """In standard deviations, so that no unit outweighs another; however a batch is split, its parts add up."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(rows, 2)).astype(np.float32)
    labels = list(random.normal(STATE["mean"], STATE["sd"], (rows, 2)).astype(np.float32))
    task, cut = make(state=STATE), data.draw(st.integers(0, rows - 1))

    def loss(part: slice) -> float:
        if not labels[part]:
            return 0.0
        return float(task.loss(torch.from_numpy(logits[part]), task.targets(labels[part], 0)))

    deviations = (np.stack(labels).astype(np.float64) - STATE["mean"]) / STATE["sd"]
    assert loss(slice(None)) / rows == pytest.approx(((logits - deviations) ** 2).mean(), rel=1e-4)
    assert loss(slice(cut)) + loss(slice(cut, None)) == pytest.approx(loss(slice(None)), rel=1e-4)


def test_metrics_are_those_of_scikit_learn_in_own_units() -> None:
    random = np.random.default_rng(0)
    truth = random.normal(STATE["mean"], STATE["sd"], (50, 2))
    logits = (truth - STATE["mean"]) / STATE["sd"] + random.normal(0, 0.3, (50, 2))
    answers = logits * STATE["sd"] + STATE["mean"]
    expected = {"loss": ((logits - (truth - STATE["mean"]) / STATE["sd"]) ** 2).mean()}
    for i, name in enumerate(("load", "price")):
        expected[f"mae_{name}"] = mean_absolute_error(truth[:, i], answers[:, i])
        expected[f"rmse_{name}"] = root_mean_squared_error(truth[:, i], answers[:, i])
        expected[f"r2_{name}"] = r2_score(truth[:, i], answers[:, i])
    assert make(state=STATE).metrics(list(logits), list(truth), []) == pytest.approx(expected)


def test_a_target_that_does_not_differ_in_a_split_has_no_r2() -> None:
    found = make(state=STATE).metrics([np.zeros(2)] * 3, [np.array([0.1, i]) for i in range(3)], [])
    assert "r2_load" not in found and "r2_price" in found


def test_an_answer_is_in_own_units() -> None:
    answer = make(state=STATE).answer("text", [], np.array([0.5, -1], np.float32), [])
    assert answer["values"] == pytest.approx({"load": 1100, "price": -0.51})
