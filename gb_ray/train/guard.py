"""Watches loss and gradient: what is not a number, or a spike, reaches no weights that are kept."""

from __future__ import annotations

import math
from collections import deque
from contextlib import closing
from statistics import median
from typing import Any, NoReturn

import torch.distributed as dist

from gb_ray.train import skips
from gb_ray.train.account import journal
from gb_ray.train.job import Job
from gb_ray.train.run import write_json
from gb_ray.train.samples import reader
from gb_ray.train.schedule import Step
from gb_ray.train.section import BadLossSection
from gb_ray.train.worker import Worker

BAD = "bad-loss.json"
MOST_SKIPS = 10
"""Steps left out of one run: with more of them the fault is elsewhere."""
ENOUGH = 10
"""Losses from which on a spike can be told."""
ABOVE_ALL, OF_FIRST = 2.0, 0.5
EXCERPT, NAMED = 60, 3


class BadLoss(Exception):
    """The run must not go on. Says the step, its loss and its samples."""


class StepSkipped(RuntimeError):
    """The workers start again from the last checkpoint and leave the step out."""


class Guard:
    """All workers see the same losses and come to the same verdict.

    A spike is above `spike` times the median of the last `window` losses, above twice the highest of them, and above
    half of the run's first loss: a model that has learnt its texts has losses near 0, among which one of a text that it
    has not is many times the median and no sign that training goes wrong.
    """

    def __init__(self, job: Job, worker: Worker):
        self._job, self._worker = job, worker
        self._section: BadLossSection = job.recipe.train.bad_loss
        self._losses = deque(self._before(), maxlen=self._section.window)
        self._first = worker.progress.first

    def _before(self) -> list[float]:
        """The losses that the undisturbed run would have in its window: rank 0 wrote them, and its word is taken."""
        file, steps = self._job.run / "metrics.jsonl", self._worker.progress.steps
        found = [journal.losses(file, steps, self._section.window) if dist.get_rank() == 0 else None]
        dist.broadcast_object_list(found, src=0)
        return found[0] or []

    def judge(self, step: Step, loss: float) -> None:
        """Raises BadLoss, or StepSkipped, when the weights must not be updated by this step; every worker calls it."""
        if why := self._verdict(loss):
            self._refuse(step, {"loss": str(loss)}, why)
        self._losses.append(loss)
        self._first = loss if self._first is None else self._first

    def judge_update(self, step: Step, norm: float) -> None:
        """Raises the same when the gradient was not finite though the loss was: before the update is saved anywhere.

        `norm` is that of all workers' gradients, so they come to one verdict without asking each other. In fp16 such a
        step is nothing unusual: DeepSpeed leaves its update out and lowers the loss scale.
        """
        if self._worker.precision != "fp16" and not (math.isfinite(norm) and norm >= 0):
            self._refuse(step, {"grad_norm": str(norm)}, f"the norm of its gradient is {norm}")

    def _refuse(self, step: Step, found: dict[str, str], why: str) -> NoReturn:
        # One of them writes, and what is raised is the same everywhere: any of them may be the one that is heard.
        said: list[Any] = [self._write_down(step, found, why) if dist.get_rank() == 0 else None]
        dist.broadcast_object_list(said, src=0)
        text, skipped = said[0]
        raise StepSkipped(text) if skipped else BadLoss(text)

    def _verdict(self, loss: float) -> str | None:
        if not math.isfinite(loss):
            return f"its loss is {loss}"
        if len(self._losses) >= min(ENOUGH, self._section.window):
            middle, highest = median(self._losses), max(self._losses)
            if loss > max(self._section.spike * middle, ABOVE_ALL * highest, OF_FIRST * (self._first or 0.0)):
                times = f"{loss / middle:.3g} times" if middle else "above"
                return f"its loss {loss:.4g} is {times} the median of the last {len(self._losses)} steps, {middle:.4g}"
        return None

    def _write_down(self, step: Step, found: dict[str, str], why: str) -> tuple[str, bool]:
        """What is raised, and whether the step is skipped; all about it is in a file by then."""
        samples = self._samples(step)
        about = {"step": step.number, "epoch": step.epoch, "positions": [step.start, step.stop]}
        about |= found | {"why": why, "samples": samples}
        skip = self._section.policy == "skip"
        if skip and len(skips.numbers(self._job.run)) < MOST_SKIPS:
            skips.add(self._job.run, about)
            return f"step {step.number} is left out, with its {len(samples)} samples: {why}", True
        file = self._job.run / BAD
        write_json(file, about)
        named = ", ".join(f"{sample['id']} {sample['text']!r}" for sample in samples[:NAMED])
        more = f" and {len(samples) - NAMED} more" if len(samples) > NAMED else ""
        limit = f"{MOST_SKIPS} steps were left out already; " if skip else ""
        return f"step {step.number}: {why}; {limit}its samples are {named}{more}, all in {file}", False

    def _samples(self, step: Step) -> list[dict[str, str]]:
        """Ids and the beginnings of the texts of the step's samples, all workers'."""
        job, decode = self._job, self._worker.tokenizer.decode
        with closing(reader(job)) as found:
            return [
                {"id": sample.id, "text": decode(sample.input_ids, skip_special_tokens=True)[:EXCERPT]}
                for sample in found.step(step.epoch, step.start, step.stop)
            ]
