"""What a step minimises: the sum over tasks of weight times mean, over the task's answers in the global batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from gb_ray.tasks.task import Task

Answers = tuple[int, ...]
"""Supervised answers of each task in the order of the recipe."""


class Objective:
    """The loss of one or several tasks.

    Where a model learns the balance of its tasks, with s the log of a task's variance, a task's mean m counts as

        weight * (exp(-s) * m + s / 2)

    after Kendall, Gal and Cipolla, Multi-Task Learning Using Uncertainty to Weigh Losses (https://arxiv.org/abs/
    1705.07115, equation 10), with the same factor before all kinds of loss. A task that the global batch has no answer
    of leaves its s as it is.
    """

    def __init__(self, tasks: Sequence[Task], weights: Sequence[float]):
        self._tasks, self._weights = tasks, weights

    def part(
        self, outputs: Any, targets: Sequence[torch.Tensor], share: float, answers: Answers, once: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What a group adds to the loss that is minimised, and to the one that is shown (scalars).

        `answers` are those of the global batch; `share` is 0 for a group that only keeps step. The terms s / 2 belong
        to the step, not to samples: they are taken times `once`, which adds up to 1 over all groups of all workers.
        The loss shown is without s, so that it can be compared from step to step.
        """
        logits = outputs.logits if isinstance(outputs.logits, tuple) else (outputs.logits,)
        parts = [
            task.loss(own, wanted) * (share * weight / max(1, count))
            for task, own, wanted, weight, count in zip(
                self._tasks, logits, targets, self._weights, answers, strict=True
            )
        ]
        shown = torch.stack(parts).sum() if len(parts) > 1 else parts[0]
        logs = getattr(outputs, "log_variances", None)
        if logs is None:
            return shown, shown.detach()
        halves = [once * weight / 2 if count else 0.0 for weight, count in zip(self._weights, answers, strict=True)]
        logs = logs.float()
        minimised = (torch.exp(-logs) * torch.stack(parts)).sum() + (logs * logs.new_tensor(halves)).sum()
        return minimised, shown.detach()
