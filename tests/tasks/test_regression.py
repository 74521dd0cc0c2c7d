"""Numbers a text: what is a number, one scale for every unit, and metrics in the targets' own."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score, root_mean_squared_error

from gb_ray.corpus.encoder import Reject
from gb_ray.measure.bootstrap import intervals
from gb_ray.section import UserError
from gb_ray.tasks.regression import Regression
from gb_ray.tasks.scale import measure
from gb_ray.tasks.section import RegressionSection

Drawn = tuple[np.ndarray, np.ndarray, np.ndarray]
STATE = {"mean": [1000.0, -0.5], "sd": [200.0, 0.01]}


def make(backbone: Path | str = "unused", last: list[str] | None = None, **keys: Any) -> Regression:
    section = RegressionSection(type="regression", targets=["load", "price"], last=last or [])
    return Regression(section, str(backbone), 16, **keys)


LAST = ["load before", "price before"]


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


def with_last(rows: int = 60, seed: int = 0) -> Drawn:
    """Standardised answers, truth and last values [rows, 2], the latter two in their own units."""
    random = np.random.default_rng(seed)
    truth = random.normal(STATE["mean"], STATE["sd"], (rows, 2))
    last = truth + random.normal(0, STATE["sd"], (rows, 2)) * [0.8, 0.2]
    answers = (truth - STATE["mean"]) / STATE["sd"] + random.normal(0, 0.5, (rows, 2))
    return answers, truth, last


def measured(answers: np.ndarray, truth: np.ndarray, last: np.ndarray) -> dict[str, float]:
    return make(last=LAST, state=STATE).metrics(list(answers), list(np.hstack([truth, last])), [])


@pytest.mark.parametrize(
    ("last", "message"),
    [
        (["a", "b", "c"], "last: 3 for 2 targets"),
        (["a"], "last: 1 for 2 targets"),
        (["load", "b"], "'load' is a target"),
    ],
)
def test_last_values_that_cannot_be_those_of_the_targets_are_refused(last: list[str], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        RegressionSection(type="regression", targets=["load", "price"], last=last)


def test_a_sample_has_its_last_values_after_its_targets(backbone: Path) -> None:
    task = make(backbone, last=LAST)
    fields = task.clean({"text": "grid", "load": 1, "price": 2, "load before": "3", "price before": 4})
    assert fields == {"text": "grid", "targets": [1, 2], "last": [3, 4]}
    assert task.encode([fields], [])["label"] == [[1, 2, 3, 4]]
    assert task.columns == ["text", "load", "price", *LAST]


def test_a_row_without_a_last_value_is_refused_by_its_name() -> None:
    row = {"text": "grid", "load": 1, "price": 2, "load before": 3, "price before": None}
    with pytest.raises(Reject, match="price before is null"):
        make(last=LAST).clean(row)


def test_without_last_values_nothing_is_written_of_them() -> None:
    """Digests of corpora and recipes cover what is written."""
    plain, known = make(), make(last=LAST)
    assert "last" not in plain.fingerprint() and "last" not in plain.section.model_dump(mode="json")
    assert plain.fields.names == ["text", "targets"]
    assert known.fingerprint()["last"] == LAST


def test_the_model_learns_the_targets_alone() -> None:
    answers, truth, last = with_last()
    for task in (make(state=STATE), make(last=LAST, state=STATE)):
        alone, both = task.targets(list(truth), 0), task.targets(list(np.hstack([truth, last])), 0)
        assert both.shape == answers.shape and torch.equal(alone, both)


@given(st.integers(2, 40), st.integers(0, 99))
def test_skill_is_what_is_saved_of_the_squared_error_of_the_last_value(rows: int, seed: int) -> None:
    answers, truth, last = with_last(rows, seed)
    found, own = measured(answers, truth, last), answers * STATE["sd"] + STATE["mean"]
    for i, name in enumerate(("load", "price")):
        model, same = mean_squared_error(truth[:, i], own[:, i]), mean_squared_error(truth[:, i], last[:, i])
        assert found[f"skill_{name}"] == pytest.approx(1 - model / same)


def test_last_values_change_no_other_metric() -> None:
    answers, truth, last = with_last()
    found, plain = measured(answers, truth, last), make(state=STATE).metrics(list(answers), list(truth), [])
    assert {name: value for name, value in found.items() if not name.startswith("skill_")} == plain
    assert not any(name.startswith("skill_") for name in plain)


@pytest.mark.parametrize(
    ("answers", "skill"),
    [(lambda truth, last: truth, 1), (lambda truth, last: last, 0), (lambda truth, last: 3 * last - 2 * truth, -8)],
)
def test_skill_is_1_when_right_0_when_the_last_value_and_below_when_worse(
    answers: Callable[[np.ndarray, np.ndarray], np.ndarray], skill: float
) -> None:
    _, truth, last = with_last()
    found = measured((answers(truth, last) - STATE["mean"]) / STATE["sd"], truth, last)
    assert [found["skill_load"], found["skill_price"]] == pytest.approx([skill, skill])


def test_a_last_value_that_is_always_right_leaves_no_skill_to_have() -> None:
    answers, truth, last = with_last()
    last[:, 0] = truth[:, 0]
    found = measured(answers, truth, last)
    assert "skill_load" not in found and "skill_price" in found


def test_skill_has_an_interval_around_it() -> None:
    answers, truth, last = with_last(300)
    task = make(last=LAST, state=STATE)
    statistics = task.statistics(list(answers), list(np.hstack([truth, last])), [])
    low, high = intervals(statistics, lambda sums: task.from_sums(sums, []))["skill_load"]
    assert low < measured(answers, truth, last)["skill_load"] < high < low + 1


def test_models_with_and_without_last_are_measured_alike_on_one_split() -> None:
    """A gate compares them by statistics of the same samples."""
    answers, truth, last = with_last()
    samples = list(np.hstack([truth, last]))
    one, other = (
        task.statistics(list(answers), samples, []) for task in (make(state=STATE), make(last=LAST, state=STATE))
    )
    assert np.array_equal(one, other)
