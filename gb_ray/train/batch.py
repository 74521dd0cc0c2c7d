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
from gb_ray.tasks.base import PerToken
from gb_ray.tasks.task import Task
from gb_ray.tasks.tokenizer import padding, tokenizer

WASTE = 1.05
"""A padded group ends where padding would pass 5 % of its tokens."""


@dataclass(frozen=True)
class Group:
    """What a model takes at once, and the task's targets.

    Packed: int64 [1, tokens] and where its samples lie. Padded: int64 [samples, longest] and a mask.
    """

    input_ids: torch.Tensor
    targets: torch.Tensor
    attention_mask: torch.Tensor | None = None
    position_ids: torch.Tensor | None = None
    segments: Segments | None = None

    @property
    def inputs(self) -> dict[str, Any]:
        """The model's arguments."""
        if self.segments is None:
            return {"input_ids": self.input_ids, "attention_mask": self.attention_mask}
        return {"input_ids": self.input_ids, "position_ids": self.position_ids, "segments": self.segments}

    @property
    def size(self) -> tuple[int, int]:
        """(tokens, tokens that are computed)."""
        computed = self.input_ids.numel()
        return computed if self.attention_mask is None else int(self.attention_mask.sum()), computed

    @classmethod
    def padded(cls, samples: list[Sample], task: Task, pad: int) -> Group:
        """One row a sample, filled up with `pad`."""
        width = max(len(sample.input_ids) for sample in samples)
        ids = np.full((len(samples), width), pad, np.int64)
        mask = np.zeros((len(samples), width), np.int64)
        for row, sample in enumerate(samples):
            ids[row, : len(sample.input_ids)] = sample.input_ids
            mask[row, : len(sample.input_ids)] = 1
        targets = task.targets([sample.label for sample in samples], width)
        return cls(torch.from_numpy(ids), targets, attention_mask=torch.from_numpy(mask))

    @classmethod
    def packed(cls, samples: list[Sample], task: Task, first: int) -> Group:
        """One row of all samples; each counts its positions from `first`."""
        lengths = [len(sample.input_ids) for sample in samples]
        ids = np.concatenate([sample.input_ids for sample in samples]).astype(np.int64)
        places = np.concatenate([np.arange(first, first + length) for length in lengths])
        labels = [sample.label for sample in samples]
        targets = task.targets([np.concatenate(labels)] if isinstance(task, PerToken) else labels, len(ids))
        segments = Segments.of(lengths)
        row = torch.from_numpy(ids)[None]
        return cls(row, targets, position_ids=torch.from_numpy(places)[None], segments=segments)

    def to(self, device: torch.device) -> Group:
        """On a device."""
        if device.type == "cpu":
            return self
        names = ("input_ids", "targets", "attention_mask", "position_ids")
        parts = {name: part for name in names if (part := getattr(self, name)) is not None}
        moved = {name: part.pin_memory().to(device, non_blocking=True) for name, part in parts.items()}
        return replace(self, **moved, segments=self.segments and self.segments.to(device))


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
    """How samples become what a model takes. `first` is the position of a sample's first token.

    Not `together`, a micro-batch is one group: under ZeRO 3 each pass through the model is a collective, and all
    workers must make as many.
    """

    task: Task
    pad: int
    packed: bool
    first: int
    device: torch.device
    together: bool

    @classmethod
    def of(cls, model: Any, task: Task, device: torch.device | None = None, together: bool = True) -> Layout:
        """Packed if the model was made to take that; on its device, or the one it will be moved to."""
        pad = padding(tokenizer(task.backbone))
        first = packing.first_position(model)
        return cls(task, pad, packing.is_packed(model), first, device or model.device, together)

    def micro(self, samples: list[Sample], micro_tokens: int) -> list[MicroBatch]:
        """The micro-batches of samples."""
        parts = layout(samples, micro_tokens, self.packed)
        if not self.together:
            parts = [[group] for groups in parts for group in groups]
        return [MicroBatch([self.group(group) for group in groups]) for groups in parts]

    def empty(self) -> MicroBatch:
        """A micro-batch whose gradients are zero."""
        ids = np.full(2, self.pad, np.int32)
        return MicroBatch([self.group([Sample("", ids, self.task.blank(len(ids)))])], weight=0.0)

    def group(self, samples: list[Sample]) -> Group:
        """Samples as tensors, in their order."""
        if self.packed:
            return Group.packed(samples, self.task, self.first).to(self.device)
        return Group.padded(samples, self.task, self.pad).to(self.device)


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


def _width(group: list[Sample]) -> int:
    return len(group[-1].input_ids)
