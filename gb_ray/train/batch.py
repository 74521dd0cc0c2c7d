"""A worker's samples of one step, laid out as micro-batches of a bounded number of tokens.

Packed, for the architectures that packing.py knows: one row, and no padding is computed.

samples  ▆▆▆▆▆▆   sorted by length, one after another       padded, for the others: groups,
         ▆▆       ┌─────────────────────────┐               each to its longest sample
         ▆▆▆▆▆    │▆▆ ▆▆▆ ▆▆▆▆▆ ▆▆▆▆▆ ▆▆▆▆▆▆│               ▆▆        ▆▆▆▆▆░
         ▆▆▆▆▆    └─────────────────────────┘               ▆▆▆       ▆▆▆▆▆▆
         ▆▆▆       positions 0 1 0 1 2 0 1 2 3 4 …
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from gb_ray.corpus.reading.reader import Sample
from gb_ray.model import packing
from gb_ray.model.attention import Segments
from gb_ray.model.several import Owners
from gb_ray.tasks.base import PerToken
from gb_ray.tasks.task import Task
from gb_ray.tasks.tokenizer import padding, tokenizer

Tasks = tuple[Task, ...]
WASTE = 1.05
"""A padded group ends where padding would pass 5 % of its tokens."""


@dataclass(frozen=True)
class Group:
    """What a model takes at once, and each task's targets.

    Packed: int64 [1, tokens] and where its samples lie. Padded: int64 [samples, longest] and a mask. With several tasks
    also whose its samples are. `outputs` is what the model gave for it, where it was asked already.
    """

    input_ids: torch.Tensor
    targets: tuple[torch.Tensor, ...]
    attention_mask: torch.Tensor | None = None
    position_ids: torch.Tensor | None = None
    segments: Segments | None = None
    owners: Owners | None = None
    outputs: Any = None

    @property
    def inputs(self) -> dict[str, Any]:
        """The model's arguments."""
        owners = {"owners": self.owners} if self.owners else {}
        if self.segments is None:
            return {"input_ids": self.input_ids, "attention_mask": self.attention_mask, **owners}
        return {"input_ids": self.input_ids, "position_ids": self.position_ids, "segments": self.segments, **owners}

    @property
    def size(self) -> tuple[int, int]:
        """(tokens, tokens that are computed)."""
        computed = self.input_ids.numel()
        return computed if self.attention_mask is None else int(self.attention_mask.sum()), computed

    def norms(self, values: torch.Tensor) -> torch.Tensor:
        """The L2 norm, over all its tokens, of each token's sample: fp32 [..., 1] of values [..., tokens, size]."""
        squares = values.float().square().sum(-1, keepdim=True)
        if self.segments is None:
            return squares.sum(1, keepdim=True).sqrt()
        lengths = torch.tensor(self.segments.lengths, device=values.device)
        owner = torch.repeat_interleave(torch.arange(len(lengths), device=values.device), lengths)
        sums = squares.new_zeros(len(lengths), 1).index_add_(0, owner, squares[0])
        return sums.sqrt()[owner][None]

    @classmethod
    def padded(cls, samples: list[Sample], tasks: Tasks, pad: int) -> Group:
        """One row a sample, filled up with `pad`."""
        width = max(len(sample.input_ids) for sample in samples)
        ids = np.full((len(samples), width), pad, np.int64)
        mask = np.zeros((len(samples), width), np.int64)
        for row, sample in enumerate(samples):
            ids[row, : len(sample.input_ids)] = sample.input_ids
            mask[row, : len(sample.input_ids)] = 1
        owned = _owned(samples, tasks)
        targets = tuple(
            task.targets([samples[i].label for i in own], width) for task, own in zip(tasks, owned, strict=True)
        )
        owners = Owners.of(owned) if len(tasks) > 1 else None
        return cls(torch.from_numpy(ids), targets, attention_mask=torch.from_numpy(mask), owners=owners)

    @classmethod
    def packed(cls, samples: list[Sample], tasks: Tasks, first: int) -> Group:
        """One row of all samples; each counts its positions from `first`."""
        lengths = [len(sample.input_ids) for sample in samples]
        ids = np.concatenate([sample.input_ids for sample in samples]).astype(np.int64)
        places = np.concatenate([np.arange(first, first + length) for length in lengths])
        owned = _owned(samples, tasks)
        targets = tuple(
            _in_a_row(task, [samples[i].label for i in own]) for task, own in zip(tasks, owned, strict=True)
        )
        owners = Owners.of(owned, lengths) if len(tasks) > 1 else None
        row, position_ids = torch.from_numpy(ids)[None], torch.from_numpy(places)[None]
        return cls(row, targets, position_ids=position_ids, segments=Segments.of(lengths), owners=owners)

    def to(self, device: torch.device) -> Group:
        """On a device."""
        if device.type == "cpu":
            return self
        names = ("input_ids", "attention_mask", "position_ids")
        moved = {name: _moved(part, device) for name in names if (part := getattr(self, name)) is not None}
        targets = tuple(_moved(part, device) for part in self.targets)
        segments, owners = self.segments and self.segments.to(device), self.owners and self.owners.to(device)
        return replace(self, **moved, targets=targets, segments=segments, owners=owners)


@dataclass(frozen=True)
class MicroBatch:
    """Groups that share a backward pass. `weight` is 0 when it only keeps step with the other workers."""

    groups: list[Group]
    weight: float = 1.0

    @property
    def size(self) -> tuple[int, int]:
        """(tokens, tokens that are computed) of samples."""
        if not self.weight:
            return 0, 0
        tokens, computed = zip(*(group.size for group in self.groups), strict=True)
        return sum(tokens), sum(computed)


@dataclass(frozen=True)
class Layout:
    """How samples become what a model takes, those of task number t as `tasks[t]` has it.

    `first` is the position of a sample's first token.

    Not `together`, a micro-batch is one group: under ZeRO 3 each pass through the model is a collective, and all
    workers must make as many.
    """

    tasks: Tasks
    pad: int
    packed: bool
    first: int
    device: torch.device
    together: bool

    @classmethod
    def of(cls, model: Any, tasks: Tasks, device: torch.device | None = None, together: bool = True) -> Layout:
        """Packed if the model was made to take that; on its device, or the one it will be moved to."""
        pad = padding(tokenizer(tasks[0].backbone))
        first = packing.first_position(model)
        return cls(tasks, pad, packing.is_packed(model), first, device or model.device, together)

    def rows(self, samples: list[Sample]) -> list[Sample]:
        """What the model takes of samples as one text each. A task whose samples are several stands alone."""
        return self.tasks[0].rows(samples) if len(self.tasks) == 1 else samples

    def micro(self, samples: list[Sample], micro_tokens: int) -> list[MicroBatch]:
        """The micro-batches of samples."""
        parts = layout(self.rows(samples), micro_tokens, self.packed)
        if not self.together:
            parts = [[group] for groups in parts for group in groups]
        return [MicroBatch([self.group(group) for group in groups]) for groups in parts]

    def empty(self) -> MicroBatch:
        """A micro-batch whose gradients are zero."""
        ids = np.full(2, self.pad, np.int32)
        return MicroBatch([self.group([Sample("", ids, self.tasks[0].blank(len(ids)))])], weight=0.0)

    def answers(self, samples: list[Sample]) -> tuple[int, ...]:
        """What is supervised in samples, by task."""
        counts = [0] * len(self.tasks)
        for sample in samples:
            counts[sample.task] += self.tasks[sample.task].supervised(sample.label)
        return tuple(counts)

    def group(self, samples: list[Sample]) -> Group:
        """Samples as tensors, in their order."""
        if self.packed:
            return Group.packed(samples, self.tasks, self.first).to(self.device)
        return Group.padded(samples, self.tasks, self.pad).to(self.device)


def layout(samples: list[Sample], micro_tokens: int, packed: bool) -> list[list[list[Sample]]]:
    """Micro-batches of groups of samples, shortest first (ties by id, so that every run lays them out alike).

    A micro-batch holds at most `micro_tokens` tokens, padding included; a longer sample goes alone. Packed, it is one
    group.
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
        if group and packed:
            room -= length
            group.append(sample)
        elif group and widened <= WASTE * (tokens + length) and widened - len(group) * _width(group) <= room:
            room -= widened - len(group) * _width(group)
            group.append(sample)
            tokens += length
        else:
            micro[-1].append([sample])
            room, tokens = room - length, length
    return micro


def _owned(samples: list[Sample], tasks: Tasks) -> list[list[int]]:
    """The numbers of each task's samples."""
    return [[i for i, sample in enumerate(samples) if sample.task == number] for number in range(len(tasks))]


def _in_a_row(task: Task, labels: list[Any]) -> torch.Tensor:
    """The targets of samples that lie one after another."""
    if not isinstance(task, PerToken):
        return task.targets(labels, 0)
    row = np.concatenate([task.blank(0), *labels])
    return task.targets([row], len(row))


def _moved(part: torch.Tensor, device: torch.device) -> torch.Tensor:
    return part.pin_memory().to(device, non_blocking=True)


def _width(group: list[Sample]) -> int:
    return len(group[-1].input_ids)
