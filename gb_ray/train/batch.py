"""A worker's samples of one step, laid out with little padding.

samples  ▆▆▆▆▆▆   sorted by length   groups, each padded to its longest
         ▆▆               ▆▆         ┌──┐
         ▆▆▆▆▆   ─▶       ▆▆▆    ─▶  │  ░┐   one backward pass for all the groups of a
         ▆▆▆▆▆▆           ▆▆▆▆▆      └───┘   micro-batch: gradients cross the network once
         ▆▆▆              ▆▆▆▆▆▆     ┌──────┐
                          ▆▆▆▆▆▆     └──────┘
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from gb_ray.corpus.reading.reader import Sample
from gb_ray.tasks.task import Task

WASTE = 1.05
"""A group ends where padding would pass 5 % of its tokens."""


@dataclass(frozen=True)
class Group:
    """int64 [samples, longest] tensors, and the task's targets."""

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    targets: torch.Tensor


@dataclass(frozen=True)
class MicroBatch:
    """Groups that share a backward pass. `weight` is 0 when it only keeps step with the other workers."""

    groups: list[Group]
    weight: float = 1.0

    @classmethod
    def of(cls, groups: list[list[Sample]], task: Task, pad: int) -> MicroBatch:
        """Samples as tensors."""
        return cls([_collate(group, task, pad) for group in groups])

    @classmethod
    def empty(cls, task: Task, pad: int) -> MicroBatch:
        """A micro-batch whose gradients are zero."""
        ids = np.full(2, pad, np.int32)
        return cls([_collate([Sample("", ids, task.blank(len(ids)))], task, pad)], weight=0.0)

    @property
    def size(self) -> tuple[int, int]:
        """(tokens, tokens with padding)."""
        if not self.weight:
            return 0, 0
        tokens = sum(int(group.attention_mask.sum()) for group in self.groups)
        return tokens, sum(group.input_ids.numel() for group in self.groups)


def layout(samples: list[Sample], micro_tokens: int) -> list[list[list[Sample]]]:
    """Micro-batches of groups of samples, shortest first (ties by id, so that every run lays them out alike).

    A micro-batch holds at most `micro_tokens` tokens, padding included; a longer sample goes alone.
    """
    ordered = sorted(samples, key=lambda sample: (len(sample.input_ids), sample.id))
    micro: list[list[list[Sample]]] = []
    room = tokens = 0
    for sample in ordered:
        length = len(sample.input_ids)
        if not micro or length > room:
            micro.append([])
            room, tokens = micro_tokens, 0
        group = micro[-1][-1] if micro[-1] else None
        widened = (len(group) + 1) * length if group else 0
        if group and widened <= WASTE * (tokens + length) and widened - len(group) * _width(group) <= room:
            room -= widened - len(group) * _width(group)
            group.append(sample)
            tokens += length
        else:
            micro[-1].append([sample])
            room, tokens = room - length, length
    return micro


def _width(group: list[Sample]) -> int:
    return len(group[-1].input_ids)


def _collate(samples: list[Sample], task: Task, pad: int) -> Group:
    width = max(len(sample.input_ids) for sample in samples)
    ids = np.full((len(samples), width), pad, np.int64)
    mask = np.zeros((len(samples), width), np.int64)
    for row, sample in enumerate(samples):
        ids[row, : len(sample.input_ids)] = sample.input_ids
        mask[row, : len(sample.input_ids)] = 1
    targets = task.targets([sample.label for sample in samples], width)
    return Group(torch.from_numpy(ids), torch.from_numpy(mask), targets)
