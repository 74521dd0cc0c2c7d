"""What a page about a run is made of, read from the run's folder and its corpus."""

from __future__ import annotations

import json
import platform
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gb_ray
from gb_ray.corpus.corpus import Corpus
from gb_ray.corpus.sources.remote import Unreachable
from gb_ray.measure import results
from gb_ray.measure.scores import Scores
from gb_ray.measure.table import summaries
from gb_ray.model import package
from gb_ray.report import errors
from gb_ray.report.energy import Energy, energy
from gb_ray.report.pairs import pairs
from gb_ray.section import UserError
from gb_ray.tasks.task import Task
from gb_ray.train.account import gpu_meter, life
from gb_ray.train.account.beat import beats
from gb_ray.train.account.goodput import Seconds, goodput
from gb_ray.train.planning.machines import by_device_name
from gb_ray.train.run import Run, read_json

SHOWN_FROM = ("torch", "transformers", "deepspeed", "ray", "mlflow")


@dataclass(frozen=True)
class Answers:
    """What one task's head did on the split that the page tells of."""

    corpus: dict[str, Any]
    worst: list[dict[str, Any]]
    confusion: list[list[int]] | None
    pairs: list[dict[str, Any]] | None
    """See pairs.py."""


@dataclass(frozen=True)
class Facts:
    """`journal` are its steps, a resumed one once; `attempts` (began, ended, whether by itself) each start."""

    name: str
    account: dict[str, Any]
    manifest: dict[str, Any]
    journal: list[dict[str, float]]
    attempts: list[tuple[float, float, bool]]
    began: float
    ended: float
    goodput: Seconds
    gpus: bool
    """Whether its workers had one each."""
    energy: Energy | None
    answers: dict[str, Answers]
    """By task."""
    versions: dict[str, str]

    @property
    def split(self) -> str:
        """The split that the page tells of: test, or validation when there is no test."""
        return "test" if "test" in self.account["metrics"] else next(iter(self.account["metrics"]), "test")


def facts(run: Run) -> Facts:
    """Of a run whose training has ended. Raises UserError for another."""
    if "account" not in run.state or "compared" not in run.state["account"]:
        raise UserError(f"{run.path.name}: nothing was measured of it yet; a report is of a run that has ended")
    account, manifest = run.state["account"], package.read(run.model)
    attempts = [read_json(path) for path in sorted((run.path / "attempts").glob("*.json"))]
    lives = [read_json(path) for path in sorted((run.path / life.FOLDER).glob("*.json"))]
    names = [one["gpu"] for one in attempts if one.get("gpu")]
    spent, gpus = goodput(run.path), bool(names) or any(beat.gpu_memory for beat in beats(run.path))
    return Facts(
        name=run.path.name,
        account=account,
        manifest=manifest,
        journal=_journal(run.journal),
        attempts=[(one["began"], one["began"] + sum(one["seconds"].values()), one["ended"]) for one in attempts],
        began=min(one["began"] for one in (lives or attempts)),
        ended=max(one.get("seen", one["began"]) for one in (lives or attempts)),
        goodput=spent,
        gpus=gpus,
        energy=_energy(run, spent, [one.get("joules") for one in lives], gpus, names),
        answers=_answers(run, account, package.tasks_of(run.model, manifest)),
        versions=_versions(),
    )


def _energy(run: Run, spent: Seconds, joules: list[float | None], gpus: bool, names: list[str]) -> Energy | None:
    workers, counted = run.state["account"]["workers"], gpu_meter.joules(run.path)
    if not gpus or counted is not None:
        return energy(spent, workers, joules, gpu_joules=counted)
    known = by_device_name(names[-1]) if names else None  # runs of before did not say
    return energy(spent, workers, joules, known.watts) if known else None


def _versions() -> dict[str, str]:
    # Where the package is on the path and not installed, as in a Ray job, there is no metadata of it.
    own = {"python": platform.python_version(), "gb_ray": gb_ray.__version__}
    return own | {name: version(name) for name in SHOWN_FROM}


def _answers(run: Run, account: dict[str, Any], tasks: dict[str, Task]) -> dict[str, Answers]:
    split = "test" if "test" in account["metrics"] else next(iter(account["metrics"]), "test")
    found = {}
    for (name, task), summary in zip(tasks.items(), summaries(account).values(), strict=True):
        path = results.path_of(run.path, "after", name, split)
        scores = Scores.open(path, task) if path.is_file() else None
        if scores is None:
            found[name] = Answers(summary, [], None, None)
            continue
        corpus = _corpus(summary)
        worst, confused = errors.worst(scores, corpus, split), pairs(scores, corpus, split)
        found[name] = Answers(summary, worst, errors.confusion(scores), confused)
    return found


def _corpus(summary: dict[str, Any]) -> Corpus | None:
    """The corpus where it was; without it a page has no texts."""
    where = summary["path"]
    with suppress(UserError, Unreachable, OSError):
        corpus = Corpus.open(where if "://" in where else Path(where))
        return corpus if corpus.manifest.digest == summary["digest"] else None
    return None


def _journal(path: Path) -> list[dict[str, float]]:
    """After a restart steps come again: the last word on each counts. A line that was cut short is none."""
    steps: dict[int, dict[str, float]] = {}
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError):
                entry = json.loads(line)
                steps[entry["step"]] = entry["metrics"]
    return [steps[step] for step in sorted(steps)]
