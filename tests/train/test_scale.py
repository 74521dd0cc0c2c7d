"""The scale of a loss in fp16 follows what gradients bear."""

from __future__ import annotations

import math

from gb_ray.train.scale import MOST, PATIENCE, START, Scale


def test_it_is_halved_at_each_overflow_and_the_step_is_left_out() -> None:
    scale = Scale("fp16")
    assert [scale.holds(norm) for norm in (math.inf, 1.0, math.nan)] == [False, True, False]
    assert scale.value == START / 4


def test_it_is_doubled_after_enough_steps_in_a_row_and_never_beyond_the_most() -> None:
    scale = Scale("fp16")
    for _ in range(PATIENCE - 1):
        scale.holds(1.0)
    scale.holds(math.inf)
    for _ in range(PATIENCE):
        assert scale.value == START / 2
        scale.holds(1.0)
    assert scale.value == START
    for _ in range(20 * PATIENCE):
        scale.holds(1.0)
    assert scale.value == MOST


def test_it_goes_on_from_a_checkpoint() -> None:
    one, other = Scale("fp16"), Scale("fp16")
    for norm in (math.inf, 1.0, 1.0):
        one.holds(norm)
    other.load(one.state())
    assert other.value == one.value and other.state() == one.state()


def test_in_other_precisions_every_step_is_taken_as_it_is() -> None:
    for precision in ("bf16", "fp32"):
        scale = Scale(precision)
        assert scale.holds(math.inf) and scale.value == 1.0
