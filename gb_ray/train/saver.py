"""Saves checkpoints while training goes on."""

from __future__ import annotations

from gb_ray.train.checkpoint import Progress
from gb_ray.train.engine import Engine
from gb_ray.train.job import Job


class Saver:
    """Every worker has one and calls it at the same steps."""

    def __init__(self, job: Job, engine: Engine):
        self._job, self._engine = job, engine

    def save(self, progress: Progress, wait: bool) -> None:
        """Write and commit a checkpoint; with `wait` it is committed when this returns."""
        self._engine.save(
            self._job.run / "checkpoints", progress, self._job.key, self._job.recipe.train.checkpoint.keep
        )

    def close(self) -> None:
        """Return when nothing is being written any more."""
