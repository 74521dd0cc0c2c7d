"""Watches the loss."""

from __future__ import annotations

from gb_ray.train.schedule import Step
from gb_ray.train.section import BadLossSection


class Guard:
    """All workers see the same losses and come to the same verdict."""

    def __init__(self, section: BadLossSection):
        self._section = section

    def judge(self, step: Step, loss: float) -> None:
        """Raises when the weights must not be updated by this step."""
