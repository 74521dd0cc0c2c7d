"""What a step minimises: the sum over tasks of weight times mean, over the task's answers in the global batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from gb_ray.tasks.task import Task
from gb_ray.train.r_drop import divergence

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

    def __init__(self, tasks: Sequence[Task], weights: Sequence[float], r_drop: float | None = None):
        self._tasks, self._weights, self._r_drop = tasks, weights, r_drop

    def part(
        self, draws: Sequence[Any], targets: Sequence[torch.Tensor], share: float, answers: Answers, once: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What a group adds to the loss that is minimised, and to the one that is shown (scalars).

        `answers` are those of the global batch; `share` is 0 for a group that only keeps step. The terms s / 2 belong
        to the step, not to samples: they are taken times `once`, which adds up to 1 over all groups of all workers.
        The loss shown is without s, so that it can be compared from step to step. `draws` are the outputs of the group:
        one, or with R-Drop two, how far these differ being a part of what is minimised and not of what is shown.
        """
        drawn = [outputs.logits if isinstance(outputs.logits, tuple) else (outputs.logits,) for outputs in draws]
        parts, seen = list[torch.Tensor](), list[torch.Tensor]()
        for task, wanted, weight, count, *own in zip(self._tasks, targets, self._weights, answers, *drawn, strict=True):
            loss, told = self._sums(task, own, wanted)
            factor = share * weight / max(1, count)
            parts.append(loss * factor)
            seen.append(told.detach() * factor)
        shown = torch.stack(seen).sum() if len(seen) > 1 else seen[0]
        logs = getattr(draws[0], "log_variances", None)
        if logs is None:
            return torch.stack(parts).sum() if len(parts) > 1 else parts[0], shown
        halves = [once * weight / 2 if count else 0.0 for weight, count in zip(self._weights, answers, strict=True)]
        logs = logs.float()
        minimised = (torch.exp(-logs) * torch.stack(parts)).sum() + (logs * logs.new_tensor(halves)).sum()
        return minimised, shown

    def _sums(self, task: Task, draws: list[torch.Tensor], wanted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of a group's answers, what is minimised and what is shown."""
        if self._r_drop is None:
            loss = task.loss(draws[0], wanted)
            return loss, loss
        one, other = draws
        mean = (task.loss(one, wanted) + task.loss(other, wanted)) / 2
        return mean + self._r_drop * divergence(one, other, wanted), mean
