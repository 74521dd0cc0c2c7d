"""One trial: the training of `gb finetune` in one process, measured at its marks."""

from __future__ import annotations

import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from gb_ray.files import alone
from gb_ray.recipe import Recipe
from gb_ray.section import UserError
from gb_ray.tasks.base import sign
from gb_ray.train.job import Job
from gb_ray.train.run import write_json
from gb_ray.train.schedule import steps_per_epoch
from gb_ray.train.section import CheckpointSection
from gb_ray.tune.ledger import Ledger, Mark, name_of
from gb_ray.tune.section import SearchSection
from gb_ray.tune.space import with_values

Report = Callable[[int, Mark], None]
"""Told a mark (see AshaSection) and what was measured at it. It does not return when the trial is to end."""


class TrialFailed(Exception):
    """With these values nothing can be trained: trying again would end alike."""


@dataclass(frozen=True)
class Search:
    """What all trials of a search share; it travels to each of them. `folder` is reached by all."""

    recipe: Recipe
    section: SearchSection
    corpora: dict[str, Path | str]
    states: dict[str, dict[str, Any]]
    samples: int
    """Of an epoch."""
    folder: Path
    key: str
    gpus: bool
    metric: str

    @property
    def marks(self) -> list[int]:
        """See AshaSection."""
        return self.section.asha.marks

    @property
    def better(self) -> int:
        """1 where more of the metric is better, -1 where less is."""
        return sign(self.metric, several=len(self.recipe.tasks) > 1)

    @property
    def ledger(self) -> Ledger:
        """Its trials."""
        return Ledger(self.folder / "trials")

    def total(self, recipe: Recipe) -> int:
        """The steps of a full trial of a recipe."""
        return steps_per_epoch(self.samples, recipe.train.batch) * recipe.train.epochs

    def job(self, values: dict[str, Any]) -> Job:
        """The trial of these values as its worker sees it: the recipe's seed, one process, one checkpoint kept."""
        recipe = with_values(self.recipe, values, "a trial")
        saves = CheckpointSection(every=recipe.train.checkpoint.every, keep=1)
        train = recipe.train.model_copy(update={"workers": 1, "zero": 0, "checkpoint": saves})
        recipe, name = recipe.model_copy(update={"train": train}), name_of(values)
        run = self.ledger.run(name)
        tasks = {task: {"type": section.type} for task, section in recipe.tasks.items()}
        key, began = self.key + name, time.time()
        return Job(recipe, self.corpora, run, key, began, self.gpus, 0, {"tasks": tasks}, self.states)


def after(marks: list[int], total: int) -> list[int]:
    """After how many of `total` steps a trial is at its marks, the last of which is its end."""
    return [ceil(total * mark / marks[-1]) for mark in marks]


def train(search: Search, values: dict[str, Any], report: Report) -> None:
    """Train from where the trial was left and report at all marks; at the last one when the model is written.

    A trial that has ended only reports. It takes a process of its own. Raises TrialFailed, or RuntimeError and OSError
    for what may pass.
    """
    name, ledger = name_of(values), search.ledger
    with alone(ledger.run(name) / "alone"):
        if why := ledger.failure(name):
            raise TrialFailed(why)
        trial = ledger.trial(name)
        for mark, measured in zip(search.marks[:-1], trial.curve, strict=False):
            report(mark, measured)
        if not trial.ended:
            _carry_on(search, values, report)
        curve = ledger.trial(name).curve
        if len(curve) == len(search.marks):
            report(search.marks[-1], curve[-1])


def _carry_on(search: Search, values: dict[str, Any], report: Report) -> None:
    """Train, unless the model is there, and write down what would end every attempt alike."""
    from gb_ray.corpus.sources.remote import Unreachable
    from gb_ray.train.account.life import Life

    job, name = search.job(values), name_of(values)
    if not (job.run / "run.json").is_file():
        write_json(job.run / "run.json", {"key": job.key, "name": name, "status": "running", "zero": job.zero})
    if (job.run / "result.json").is_file():
        return
    life = Life(job.run)
    try:
        with _alone_in_a_group(job.gpus), life.spends("train"):
            _train(search, job, report)
        life.close("finished")
    except (RuntimeError, OSError, Unreachable):
        raise
    except Exception as error:
        why = str(error) if isinstance(error, UserError) else traceback.format_exception_only(error)[-1].strip()
        search.ledger.mark(name, search.ledger.trial(name).curve, search.total(job.recipe), failed=why)
        raise TrialFailed(why) from error


def _train(search: Search, job: Job, report: Report) -> None:
    from gb_ray.train import loop
    from gb_ray.train.worker import Worker
    from gb_ray.tune import measure

    ledger, name, total = search.ledger, job.run.name, search.total(job.recipe)
    curve, at = ledger.trial(name).curve, after(search.marks, total)
    samples = measure.validation(job)

    def look(worker: Worker, steps: int) -> None:
        # Steps between the checkpoint it goes on from and its last mark are done, but not measured, again.
        # A step at a mark may be left out: the next one is measured then, or the last.
        if len(curve) == len(at) or (steps < at[len(curve)] and not worker.at_end):
            return
        curve.append(Mark(steps, measure.metrics(worker, samples)))
        ledger.mark(name, curve, total)
        if len(curve) < len(at):
            report(search.marks[len(curve) - 1], curve[-1])

    loop.train(job, look)


@contextmanager
def _alone_in_a_group(gpus: bool) -> Iterator[None]:
    """A process group of this process."""
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        backend = "cpu:gloo,cuda:nccl" if gpus else "gloo"
        dist.init_process_group(backend, init_method=f"file://{folder}/store", rank=0, world_size=1)
        try:
            yield
        finally:
            dist.destroy_process_group()
