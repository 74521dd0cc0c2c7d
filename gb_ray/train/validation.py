"""Early stopping: the validation split is measured while training goes on, and the best weights are exported.

What is remembered of the measurements is in the run's progress, and so in every checkpoint: a run that is resumed stops
where the undisturbed one does.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch.distributed as dist

from gb_ray.corpus.corpus import Corpus
from gb_ray.corpus.reading.reader import Reader
from gb_ray.section import UserError
from gb_ray.tasks.base import sign
from gb_ray.train.account import notes
from gb_ray.train.account.record import Record
from gb_ray.train.agreement import everyone
from gb_ray.train.checkpoints.checkpoint import Progress
from gb_ray.train.checkpoints.restore import restore_step
from gb_ray.train.checkpoints.sealed import Torn
from gb_ray.train.evaluate import groups, score
from gb_ray.train.job import Job
from gb_ray.train.schedule import Step, steps_per_epoch
from gb_ray.train.worker import Worker

SPLIT, SHOWN = "validation", "early_stop"
"""The metrics shown have names of their own: `validation_METRIC` is that of the exported model."""


class Validation:
    """Every worker has one, scores its share of the split at the same steps, and comes to the same verdict."""

    def __init__(self, job: Job, worker: Worker, record: Record):
        """Raises UserError for a recipe with `early_stop` whose corpora do not allow it: before the first step."""
        self._job, self._worker, self._record, self._section = job, worker, record, job.recipe.train.early_stop
        self.metrics: dict[str, float] = {}
        """early_stop_METRIC (of several tasks early_stop_TASK.METRIC), when the last step was one to measure after."""
        if not self._section:
            return
        self._every = self._section.every or steps_per_epoch(worker.reader.samples_per_epoch, job.recipe.train.batch)
        self._seen = worker.progress.steps
        corpora = {name: Corpus.open(job.corpora[name]) for name in job.recipe.tasks}
        for name, corpus in corpora.items():
            if not corpus.manifest.splits[SPLIT].samples:
                raise UserError(f"train.early_stop: the validation split of {name} has no sample; see corpus.splits")
        with Reader(list(corpora.values()), SPLIT, 0, worker.rank, worker.world) as reader:
            self._groups = groups(worker.layout, list(reader.once()))
        self._passes = int(everyone([len(self._groups)]).max())
        if not self._seen:  # a metric that is not there is not found out after an epoch
            self._value(self._measured())

    def after(self, step: Step, progress: Progress) -> Progress:
        """Measure, if it is time to, and remember what came out. Every worker calls it after each step."""
        self.metrics = {}
        if not self._section:
            return progress
        # Steps may be left out, those that a measurement follows too.
        due = progress.steps // self._every > self._seen // self._every or self._worker.at_end
        self._seen = progress.steps
        return self._judged(progress, step) if due else progress

    def at_end(self, progress: Progress) -> Progress:
        """Measure a run that is started again where no step is left: those since its checkpoint are left out."""
        return self._judged(progress, None) if self._section else progress

    def _judged(self, progress: Progress, step: Step | None) -> Progress:
        assert self._section
        with self._record.spends("evaluate", step):
            found = self._measured()
        self.metrics = {f"{SHOWN}_{name}": value for name, value in found.items()}
        value = self._value(found)
        if progress.best is None or (value - progress.best_value) * self._sign > 0:
            return replace(progress, best=progress.steps, best_value=value, worse=0)
        worse = progress.worse + 1
        return replace(progress, worse=worse, ended=worse >= self._section.patience)

    def take_best(self, progress: Progress) -> Progress:
        """Give the engine the weights of the best step; every worker calls it.

        Where its save was given up, or was damaged since, the run is not lost: the weights stay the last step's, a note
        says so, and what is returned knows of no best step.
        """
        if not self._section or progress.best is None:
            return progress
        said = f"{self._section.metric} {progress.best_value:.4g} on the validation split"
        text = f"the model is that of step {progress.best}: {said}"
        try:
            if not progress.is_best:
                self._worker.engine.load(restore_step(self._job, progress.best))
        except Torn as why:
            text = f"the model is that of step {progress.steps}, not of step {progress.best} with {said}: {why}"
            progress = replace(progress, best=None)
        if dist.get_rank() == 0:
            notes.say(self._job.run, text)
        return progress

    @property
    def _sign(self) -> int:
        assert self._section
        return sign(self._section.metric, several=len(self._worker.tasks) > 1)

    def _value(self, found: dict[str, float]) -> float:
        assert self._section
        metric = self._section.metric
        if metric not in found:
            raise UserError(f"train.early_stop.metric: no {metric!r} on this split; it has {', '.join(sorted(found))}")
        return found[metric]

    def _measured(self) -> dict[str, float]:
        """The metrics of all samples of the split, as a gate names them, the same on every worker."""
        worker = self._worker
        worker.engine.module.eval()
        with worker.engine.averaged():
            mine = score(worker.engine, worker.layout, self._groups, self._passes if self._job.zero == 3 else 0)
        worker.engine.module.train()
        shares: list[Any] | None = [None] * worker.world if dist.get_rank() == 0 else None
        dist.gather_object(mine, shares)
        found = [self._metrics(shares) if shares is not None else {}]
        dist.broadcast_object_list(found, src=0)
        return found[0]

    def _metrics(self, shares: list[Any]) -> dict[str, float]:
        found: dict[str, float] = {}
        for number, (name, task) in enumerate(zip(self._job.recipe.tasks, self._worker.tasks, strict=True)):
            # In order of id: sums come out alike whatever the number of workers.
            scored = sorted((entry for share in shares for entry in share[number]), key=lambda entry: entry[0])
            logits, targets = [entry[1] for entry in scored], [entry[2] for entry in scored]
            prefix = f"{name}." if len(self._worker.tasks) > 1 else ""
            metrics = task.metrics(logits, targets, self._worker.labels[number])
            found |= {f"{prefix}{metric}": value for metric, value in metrics.items()}
        return found
