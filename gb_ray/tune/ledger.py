"""The trials of a search, on disk: what they are, how far they came, and how they ended.

trials/
  1f3a90c2.json         number, values, ended, why: written by the searcher when a trial begins and when it ends
  1f3a90c2.curve.json   what the trial itself measured
  1f3a90c2/             its run's directory, see train/run.py

A trial is its values, and its name their digest: values that are proposed again, or taken up after a kill, are the
trial that is there.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gb_ray.train.run import read_json, write_json

Ended = Literal["full", "early", "failed"]


@dataclass(frozen=True)
class Mark:
    """What a trial measured of the validation split after so many steps; `metrics` as `scores.joined` names them."""

    steps: int
    metrics: dict[str, float]


@dataclass(frozen=True)
class Trial:
    """One trial. `number` counts from 0 in the order of their beginning; `total` are the steps of a full one, or 0."""

    name: str
    number: int
    values: dict[str, Any]
    ended: Ended | None
    why: str | None
    curve: list[Mark]
    total: int

    @property
    def steps(self) -> int:
        """It was trained for, as far as it was measured."""
        return self.curve[-1].steps if self.curve else 0


class Ledger:
    """The trials under a folder."""

    def __init__(self, folder: Path):
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def run(self, name: str) -> Path:
        """The directory of a trial's run."""
        return self._folder / name

    def begin(self, values: dict[str, Any]) -> None:
        """Write a trial down, unless it is there."""
        file = self._file(name_of(values))
        if not file.is_file():
            number = len(self.trials())
            write_json(file, {"number": number, "values": values, "ended": None, "why": None})

    def end(self, name: str, ended: Ended, why: str | None = None) -> None:
        """Write down how it ended, unless it had ended before."""
        found = read_json(self._file(name))
        if not found["ended"]:
            write_json(self._file(name), found | {"ended": ended, "why": why})

    def mark(self, name: str, curve: list[Mark], total: int, failed: str | None = None) -> None:
        """Replace what a trial measured; `failed` says why it cannot go on."""
        marks = [[mark.steps, mark.metrics] for mark in curve]
        write_json(self._curve(name), {"marks": marks, "total": total, "failed": failed})

    def failure(self, name: str) -> str | None:
        """Why a trial said that it cannot go on."""
        file = self._curve(name)
        return read_json(file)["failed"] if file.is_file() else None

    def trial(self, name: str) -> Trial:
        """One that has begun."""
        about, file = read_json(self._file(name)), self._curve(name)
        measured: dict[str, Any] = read_json(file) if file.is_file() else {"marks": [], "total": 0}
        curve = [Mark(steps, metrics) for steps, metrics in measured["marks"]]
        return Trial(name, about["number"], about["values"], about["ended"], about["why"], curve, measured["total"])

    def trials(self) -> list[Trial]:
        """In the order of their beginning."""
        files = (file for file in self._folder.glob("*.json") if not file.name.endswith(".curve.json"))
        return sorted((self.trial(file.stem) for file in files), key=lambda trial: trial.number)

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.json"

    def _curve(self, name: str) -> Path:
        return self._folder / f"{name}.curve.json"


def name_of(values: dict[str, Any]) -> str:
    """What a trial of these values is called."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


def ranked(trials: list[Trial], metric: str, better: int) -> list[Trial]:
    """The best first: those trained for longest come before those that were ended early, and failed ones are last."""

    def worth(trial: Trial) -> tuple[bool, int, float]:
        return trial.ended != "failed", len(trial.curve), better * trial.curve[-1].metrics[metric] if trial.curve else 0

    return sorted(trials, key=worth, reverse=True)


def cost(trials: list[Trial]) -> float:
    """Steps trained, as a share of those that all trials would have taken in full."""
    known = [trial for trial in trials if trial.total]
    return sum(trial.steps for trial in known) / sum(trial.total for trial in known)
