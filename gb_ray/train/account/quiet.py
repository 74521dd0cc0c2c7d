"""How long workers of an attempt are used to work before they say again that they get on."""

from __future__ import annotations

from gb_ray.train.account.beat import Beat

STEP = ("data", "compute")
"""The phases that are measured."""
APART_S = 10.0
"""Two looks further apart, of a driver that was stopped for a while, do not show how long a worker was quiet."""


class Quiet:
    """Measures it by the beats: call `longest` with all of them and the time, once a second."""

    def __init__(self) -> None:
        self._attempt, self._first, self._looked = 0, -1, 0.0
        self._last: dict[int, Beat] = {}
        self._longest = [0.0, 0.0]
        """In the attempt's first step, which may compile, and in those after it."""

    def longest(self, seen: list[Beat], now: float) -> float | None:
        """Seconds, in the steps that are done but the attempt's first; in that as long as it is alone, None before."""
        step = min((beat.step for beat in seen), default=-1)
        if step < 0:
            return None
        if seen[0].attempt != self._attempt:
            self._attempt, self._first, self._last, self._longest = seen[0].attempt, step, {}, [0.0, 0.0]
        apart, self._looked = now - self._looked > APART_S, now
        for beat in seen:
            last = self._last.get(beat.rank, beat)
            if last.phase in STEP and not apart:
                later = last.step > self._first
                self._longest[later] = max(self._longest[later], beat.moved - last.moved)
            self._last[beat.rank] = beat
        done = step - self._first
        return self._longest[done > 1] if done else None
