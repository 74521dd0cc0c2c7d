"""A step's number decides its position and its learning rate."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_ray.train.schedule import Step, rate_factor, steps, steps_per_epoch
from gb_ray.train.section import ScheduleSection

SIZES = (st.integers(1, 300), st.integers(1, 64), st.integers(1, 4))
WARMUP = st.floats(0, 1, exclude_max=True)


@given(*SIZES)
def test_every_epoch_takes_every_position_once_in_order(samples: int, batch: int, epochs: int) -> None:
    taken = [(step.epoch, p) for step in steps(samples, batch, epochs) for p in range(step.start, step.stop)]
    assert taken == [(epoch, p) for epoch in range(epochs) for p in range(samples)]


@given(*SIZES)
def test_a_step_takes_a_whole_batch_but_for_the_last_of_an_epoch(samples: int, batch: int, epochs: int) -> None:
    plan = list(steps(samples, batch, epochs))
    assert [step.number for step in plan] == list(range(epochs * steps_per_epoch(samples, batch)))
    assert all(step.stop - step.start == batch or step.stop == samples for step in plan)


@given(*SIZES, st.data())
def test_going_on_at_a_step_gives_the_steps_that_were_left(
    samples: int, batch: int, epochs: int, data: st.DataObject
) -> None:
    plan = list(steps(samples, batch, epochs))
    first = data.draw(st.integers(0, len(plan) + 1))
    assert list(steps(samples, batch, epochs, first)) == plan[first:]


def test_known_steps() -> None:
    assert list(steps(5, 2, 2, first=2)) == [Step(2, 0, 4, 5), Step(3, 1, 0, 2), Step(4, 1, 2, 4), Step(5, 1, 4, 5)]


@given(st.integers(1, 500), WARMUP)
def test_the_rate_rises_to_its_peak_then_falls_and_is_never_zero(total: int, warmup: float) -> None:
    factors = [rate_factor(step, total, ScheduleSection(warmup=warmup)) for step in range(total)]
    peak = factors.index(max(factors))
    assert max(factors) == 1
    assert all(0 < factor <= 1 for factor in factors)
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)


@pytest.mark.parametrize(
    ("total", "warmup", "expected"),
    [
        (4, 0.5, [0.5, 1, 1, 0.5]),
        (4, 0.0, [1, 1, 2 / 3, 1 / 3]),
        (5, 0.2, [1, 1, 0.75, 0.5, 0.25]),
        (1, 0.1, [1]),
    ],
)
def test_known_rates(total: int, warmup: float, expected: list[float]) -> None:
    assert [rate_factor(step, total, ScheduleSection(warmup=warmup)) for step in range(total)] == pytest.approx(
        expected
    )


SHAPES = st.sampled_from(["linear", "cosine", "constant", "warmup-stable-decay"])
SHARE = st.floats(0, 1)


@given(st.integers(1, 500), SHAPES, WARMUP, st.floats(0.01, 1), SHARE)
def test_every_shape_rises_to_the_peak_and_falls_no_lower_than_its_floor(
    total: int, shape: Any, warmup: float, decay: float, floor: float
) -> None:
    schedule = ScheduleSection(shape=shape, warmup=warmup, decay=decay, floor=floor)
    factors = [rate_factor(step, total, schedule) for step in range(total)]
    rising = max(1, round(total * warmup))
    assert factors[:rising] == [(step + 1) / rising for step in range(rising)]
    assert all(floor - 1e-12 <= factor <= 1 + 1e-12 for factor in factors[rising:])
    assert all(later <= earlier + 1e-12 for earlier, later in pairwise(factors[rising:]))


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({"shape": "constant"}, [1, 1, 1, 1, 1]),
        ({"shape": "cosine"}, [1, 1, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2]),
        ({"shape": "linear", "floor": 0.2}, [1, 1, 0.8, 0.6, 0.4]),
        ({"shape": "cosine", "floor": 0.5}, [1, 1, 0.5 + (1 + 0.5**0.5) / 4, 0.75, 0.5 + (1 - 0.5**0.5) / 4]),
        ({"shape": "warmup-stable-decay", "decay": 0.4}, [1, 1, 1, 1, 0.5]),
        ({"shape": "warmup-stable-decay", "decay": 0.4, "floor": 0.5}, [1, 1, 1, 1, 0.75]),
        ({"shape": "warmup-stable-decay", "decay": 1.0}, [1, 0.8, 0.6, 0.4, 0.2]),
    ],
)
def test_known_shapes(schedule: dict[str, Any], expected: list[float]) -> None:
    factors = [rate_factor(step, 5, ScheduleSection(warmup=0.2, **schedule)) for step in range(5)]
    assert factors == pytest.approx(expected)


@given(st.integers(10, 500))
def test_warmup_stable_decay_stays_at_the_peak_until_its_last_share(total: int) -> None:
    schedule = ScheduleSection(shape="warmup-stable-decay", warmup=0.1, decay=0.2)
    factors = [rate_factor(step, total, schedule) for step in range(total)]
    falling = round(total * 0.2)
    assert set(factors[round(total * 0.1) - 1 : total - falling + 1]) == {1.0}
    assert all(later < earlier for earlier, later in pairwise(factors[total - falling :]))
