"""What all workers know of a step after its one small collective."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist

from gb_ray.train.batch import MicroBatch
from gb_ray.train.orders import Order


@dataclass(frozen=True)
class Agreement:
    """Sums over all workers, and whether any of them was asked to save or to stop."""

    loss: float
    tokens: int
    computed: int
    """Tokens with padding."""
    save: bool
    stop: bool

    @classmethod
    def of(cls, loss: float, micro: list[MicroBatch], order: Order) -> Agreement:
        """Every worker calls it once a step."""
        tokens, computed = (sum(column) for column in zip(*(m.size for m in micro), strict=True))
        values = torch.tensor([loss, tokens, computed, order.save, order.stop], dtype=torch.float64)
        dist.all_reduce(values)
        return cls(float(values[0]), int(values[1]), int(values[2]), bool(values[3]), bool(values[4]))
