"""How fast a model answers, and for how much energy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from gb_ray.train.account.power import WATTS_A_CORE


class Spent(NamedTuple):
    """What one worker, which keeps one core busy, spent on its texts; reading them and the model is left out.

    `joules` were counted by its machine's processors meanwhile, whatever else ran there; None: they cannot be read.
    """

    texts: int
    tokens: int
    seconds: float
    machine: str
    joules: float | None


@dataclass(frozen=True)
class Pace:
    """Of all workers together. `joules` are an estimate, WATTS_A_CORE for each core-second, unless `measured`."""

    texts: int
    tokens: int
    core_seconds: float
    joules: float
    measured: bool

    @classmethod
    def of(cls, spent: Iterable[Spent]) -> Pace:
        """Workers of one machine compute at the same time and read the same counter: it counts once."""
        every = list(spent)
        seconds = sum(one.seconds for one in every)
        counted: dict[str, float] = {}
        for one in every:
            if one.joules is not None:
                counted[one.machine] = max(one.joules, counted.get(one.machine, 0.0))
        measured = len(counted) == len({one.machine for one in every})
        joules = sum(counted.values()) if measured else seconds * WATTS_A_CORE
        return cls(sum(one.texts for one in every), sum(one.tokens for one in every), seconds, joules, measured)

    def then(self, other: Pace) -> Pace:
        """Of two models that both answer the same texts, one after the other."""
        return Pace(
            self.texts,
            self.tokens,
            self.core_seconds + other.core_seconds,
            self.joules + other.joules,
            self.measured and other.measured,
        )

    def account(self) -> dict[str, float | bool]:
        """Rates of one core, joules a text, and whether these were measured."""
        return {
            "texts_per_s": round(self.texts / self.core_seconds, 2),
            "tokens_per_s": round(self.tokens / self.core_seconds, 1),
            "joules_per_text": round(self.joules / self.texts, 4),
            "measured": self.measured,
        }
