"""The trials of a search that have ended: one file each, so that a killed search repeats none of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gb_ray.train.run import read_json, write_json


@dataclass(frozen=True)
class Trial:
    """A trial that has ended. `curve` holds the validation metric after each epoch it was trained for."""

    name: str
    values: dict[str, Any]
    curve: list[float]

    @property
    def score(self) -> float:
        """After its last epoch."""
        return self.curve[-1]


class Ledger:
    """The trials under a folder."""

    def __init__(self, folder: Path):
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, trial: Trial) -> None:
        """Remember a trial, durably."""
        write_json(self._folder / f"{trial.name}.json", asdict(trial))

    def trials(self) -> list[Trial]:
        """Those that have ended, by name."""
        return [Trial(**read_json(file)) for file in sorted(self._folder.glob("*.json"))]


def ranked(trials: list[Trial], mode: str) -> list[Trial]:
    """The best first: those trained for longest come before those that were ended early."""
    sign = 1 if mode == "max" else -1
    return sorted(trials, key=lambda trial: (len(trial.curve), sign * trial.score), reverse=True)


def cost(trials: list[Trial], epochs: int) -> float:
    """Epochs trained, as a share of those that all trials would have taken in full."""
    return sum(len(trial.curve) for trial in trials) / (len(trials) * epochs)
