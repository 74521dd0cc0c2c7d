"""What a worker writes down while it trains, for those who watch."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch.distributed as dist

from gb_ray.train.agreement import Agreement
from gb_ray.train.checkpoint import Progress
from gb_ray.train.job import Job
from gb_ray.train.journal import Attempt, Journal
from gb_ray.train.schedule import Step


class Record:
    """Rank 0 keeps the journal and the attempt's account."""

    def __init__(self, job: Job):
        self._peak = job.recipe.train.lr
        self._began = time.perf_counter()
        first = dist.get_rank() == 0
        self._attempt = Attempt(job.run / "attempts", job.started) if first else None
        self._journal = Journal(job.run / "metrics.jsonl") if first else None

    @contextmanager
    def spends(self, category: str, step: Step) -> Iterator[None]:
        """Count the seconds of a block."""
        if category == "data":
            self._began = time.perf_counter()
        if self._attempt:
            with self._attempt.spends(category):
                yield
        else:
            yield

    def step(self, step: Step, all: Agreement, factor: float, grad_norm: float) -> None:
        """A step is done."""
        if self._journal and self._attempt:
            metrics = {
                "loss": all.loss,
                "lr": self._peak * factor,
                "grad_norm": grad_norm,
                "tokens_per_s": all.tokens / (time.perf_counter() - self._began),
                "padding": 1 - all.tokens / all.computed,
                "epoch": float(step.epoch),
            }
            self._journal.write(step.number, metrics)
            self._attempt.at(step.number)

    def stopped(self, progress: Progress) -> None:
        """The run ends here because somebody asked."""
        self.close()

    def close(self) -> None:
        """The account of this attempt is whole."""
        if self._attempt:
            self._attempt.write()
