"""Two models that learnt numbers of two corpora: what one calls a standard deviation is another number to the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gb_ray.measure import results
from gb_ray.measure.scores import Found, Scores
from gb_ray.tasks.section import RegressionSection
from gb_ray.tasks.task import make

SECTION = RegressionSection(type="regression", targets=["load"])
LAST_YEAR, THIS_YEAR = {"mean": [100.0], "sd": [10.0]}, {"mean": [300.0], "sd": [50.0]}
TRUTH = np.random.default_rng(0).normal(300, 50, (60, 1))


def answered(answers: np.ndarray, state: dict[str, list[float]]) -> Found:
    """What a model that learnt this scale made of loads."""
    task: Any = make(SECTION, "unused", 32, state=state)
    logits, targets = list(task.scale.standard(answers)), list(TRUTH.astype(np.float32))
    half = len(TRUTH) // 2
    about = {"id": [f"{i:02d}" for i in range(2 * half)], "source": ["one.csv"] * half + ["two.csv"] * half}
    table = pa.table({**about, "language": ["en"] * 2 * half, "tokens": [9] * 2 * half})
    return {"test": {"load": Scores(task, [], table, task.statistics(logits, targets, []), targets, logits)}}


def test_each_has_its_own_error_in_the_unit_of_the_target() -> None:
    near, far = answered(TRUTH + 2, LAST_YEAR), answered(TRUTH - 8, THIS_YEAR)
    found = results.beside(near, far)
    metrics = found["compared"]["test"]["load"]
    assert (metrics["mae_load"]["a"], metrics["mae_load"]["b"]) == pytest.approx((2, 8), rel=1e-5)
    assert (metrics["rmse_load"]["a"], metrics["rmse_load"]["b"]) == pytest.approx((2, 8), rel=1e-5)
    assert (metrics["loss"]["a"], metrics["loss"]["b"]) == pytest.approx(((2 / 50) ** 2, (8 / 50) ** 2), rel=1e-4)
    assert {one["better"] for one in metrics.values()} == {"a"}
    slices = found["compared_slices"]["test"]["load"]
    assert [one["better"] for one in slices] == ["a", "a"]
    assert slices[0]["a"] == pytest.approx((2 / 50) ** 2, rel=1e-4)


def test_models_that_answer_the_same_number_do_not_differ() -> None:
    found = results.beside(answered(TRUTH + 2, LAST_YEAR), answered(TRUTH + 2, THIS_YEAR))
    assert all(one["better"] is None for one in found["compared"]["test"]["load"].values())
