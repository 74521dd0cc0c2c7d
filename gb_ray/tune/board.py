"""What a person sees of a search while it runs: lines, and MLflow runs, both made from the ledger."""

from __future__ import annotations

import time
from typing import Any

from gb_ray import finetune
from gb_ray.inputs import Corpora
from gb_ray.progress import Progress, Stage
from gb_ray.registry.tracking import Tracking
from gb_ray.train.run import Run
from gb_ray.tune.ledger import Trial, ranked
from gb_ray.tune.space import with_values
from gb_ray.tune.trial import Search


class Board:
    """Shows the trials of one search. What MLflow has got stands in the search's run.json."""

    def __init__(self, search: Search, run: Run, corpora: Corpora, tracking: Tracking, progress: Progress):
        self._search, self._run, self._corpora = search, run, corpora
        self._tracking, self._progress, self._wanted = tracking, progress, search.section.trials
        ended = [trial for trial in search.ledger.trials() if trial.ended]
        self._said = {trial.name for trial in ended}
        self._first, self._began = len(ended), time.monotonic()
        self._marks = -1
        self._problem: str | None = None

    def show(self, stage: Stage) -> None:
        """Say which trials ended, and let MLflow know what it can take."""
        trials = self._search.ledger.trials()
        ended = [trial for trial in trials if trial.ended]
        for trial in ended:
            if trial.name not in self._said:
                self._said.add(trial.name)
                self._progress.say(
                    f"tune: {len(self._said)}/{self._wanted} trials, {self._of(trial)}{self._rest(ended)}"
                )
        marks = sum(len(trial.curve) for trial in trials)
        if marks != self._marks:
            self._marks = marks
            stage.to(len(ended), f"measured {marks} times", total=self._wanted)
        try:
            self.record(trials)
            self._problem = None
        except Exception as error:  # noqa: BLE001 - the ledger is on disk, and the search goes on
            if self._problem is None:
                self._progress.say(f"tune: the tracking server did not take the trials, they wait on disk: {error}")
            self._problem = str(error)

    def record(self, trials: list[Trial]) -> None:
        """Send MLflow what it has not got. Raises what its client does."""
        for trial in trials:
            known = self._run.state.get("sent", {}).get(trial.name) or {"run_id": self._start(trial), "marks": 0}
            for mark in trial.curve[known["marks"] :]:
                values = {f"validation_{name}": value for name, value in mark.metrics.items()}
                self._tracking.metrics(known["run_id"], values, step=mark.steps)
            if trial.ended and not known.get("ended"):
                self._tracking.client.set_tag(known["run_id"], "ended", trial.ended)
                self._tracking.finish(known["run_id"], "FAILED" if trial.ended == "failed" else "FINISHED")
            known = known | {"marks": len(trial.curve), "ended": trial.ended}
            if known != self._run.state.get("sent", {}).get(trial.name):
                self._run.update(sent=self._run.state.get("sent", {}) | {trial.name: known})

    def _start(self, trial: Trial) -> str:
        recipe = with_values(self._search.recipe, trial.values, "a trial")
        folder, parent = self._search.ledger.run(trial.name), self._run.state["run_id"]
        more = {"mlflow.parentRunId": parent, "trial": str(trial.number)}
        return finetune.open_run(recipe, self._corpora, folder, self._tracking, **more)

    def _of(self, trial: Trial) -> str:
        if trial.ended == "failed":
            return f"the last one failed: {trial.why}"
        value = trial.curve[-1].metrics[self._search.metric]
        early = "" if trial.ended == "full" else f" after {trial.steps} of {trial.total} steps"
        return f"the last one {self._search.metric} {value:.4f}{early}"

    def _rest(self, ended: list[Trial]) -> str:
        best = ranked(ended, self._search.metric, self._search.better)[0]
        done = len(ended) - self._first
        text = ""
        if best.curve:
            text = f"; best {best.curve[-1].metrics[self._search.metric]:.4f} with {described(best.values)}"
        left = (self._wanted - len(ended)) * (time.monotonic() - self._began) / max(1, done)
        return f"{text}; about {left:.0f} s left" if left else text


def described(values: dict[str, Any]) -> str:
    """Values for a person."""
    shown = (f"{value:.3g}" if isinstance(value, float) else str(value) for value in values.values())
    return ", ".join(f"{key} {value}" for key, value in zip(values, shown, strict=True))
