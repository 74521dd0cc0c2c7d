"""How fast a model answered, and for how much energy."""

from __future__ import annotations

import pytest

from gb_ray.train.account.power import WATTS_A_CORE
from gb_ray.train.pace import Pace, Spent


def test_rates_are_those_of_one_core() -> None:
    pace = Pace.of([Spent(30, 600, 2.0, "a", None), Spent(10, 400, 3.0, "b", None)])
    assert (pace.account()["texts_per_s"], pace.account()["tokens_per_s"]) == (8, 200)


def test_a_machine_that_is_not_told_of_is_an_estimate() -> None:
    pace = Pace.of([Spent(30, 600, 2.0, "a", 70.0), Spent(10, 400, 3.0, "b", None)])
    assert pace.account()["joules_per_text"] == pytest.approx(5 * WATTS_A_CORE / 40)
    assert not pace.measured


def test_workers_of_one_machine_read_one_counter() -> None:
    pace = Pace.of([Spent(10, 1, 2.0, "a", 70.0), Spent(10, 1, 3.0, "a", 90.0), Spent(20, 1, 1.0, "b", 30.0)])
    assert (pace.joules, pace.measured) == (120, True)


def test_an_ensemble_answers_a_text_as_often_as_it_has_members() -> None:
    one = Pace.of([Spent(40, 800, 4.0, "a", None)])
    assert one.then(one).account()["texts_per_s"] == 5
    assert one.then(one).account()["joules_per_text"] == 2 * one.account()["joules_per_text"]
