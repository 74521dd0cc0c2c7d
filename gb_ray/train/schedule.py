"""From a step's number to its position and its learning rate: pure functions, so a restart has nothing to restore."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import cos, pi

from gb_ray.train.section import ScheduleSection


@dataclass(frozen=True)
class Step:
    """Step `number` of a run (from 0) takes positions [start, stop) of an epoch."""

    number: int
    epoch: int
    start: int
    stop: int


def steps_per_epoch(samples: int, batch: int) -> int:
    """The last step of an epoch takes what is left: no sample is dropped."""
    return -(-samples // batch)


def steps(samples: int, batch: int, epochs: int, first: int = 0) -> Iterator[Step]:
    """The steps of a run from number `first` on."""
    per_epoch = steps_per_epoch(samples, batch)
    for number in range(first, per_epoch * epochs):
        epoch, k = divmod(number, per_epoch)
        yield Step(number, epoch, k * batch, min((k + 1) * batch, samples))


def rate_factor(step: int, total: int, schedule: ScheduleSection) -> float:
    """The share of the peak rate at a step: up from 0 over the warm-up, then down to the floor as `shape` says.

    Warm-up-stable-decay stays at the peak and falls linearly over its last share (https://arxiv.org/abs/2404.06395).
    """
    rising = max(1, round(total * schedule.warmup))
    if step < rising:
        return (step + 1) / rising
    left = (total - step) / max(1, total - rising)
    if schedule.shape == "constant":
        return 1.0
    if schedule.shape == "warmup-stable-decay":
        left = min(1.0, (total - step) / max(1, round(total * schedule.decay)))
    elif schedule.shape == "cosine":
        left = (1 - cos(pi * left)) / 2
    return schedule.floor + (1 - schedule.floor) * left
