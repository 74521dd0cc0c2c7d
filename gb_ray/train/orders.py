"""What people and the cluster ask of a run while it trains."""

from __future__ import annotations

from typing import NamedTuple

from gb_ray.train.job import Job


class Order(NamedTuple):
    """`save`: a checkpoint after this step. `stop`: a checkpoint, then the end."""

    save: bool
    stop: bool


class Orders:
    """One worker's view."""

    def __init__(self, job: Job):
        self._run = job.run

    def seen(self) -> Order:
        """What was asked since the last call."""
        return Order(save=False, stop=False)
