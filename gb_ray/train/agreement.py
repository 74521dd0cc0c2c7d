"""What all workers know of a step after its one small collective."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist

from gb_ray.train.batch import MicroBatch
from gb_ray.train.feeder import Share
from gb_ray.train.orders import Order


@dataclass(frozen=True)
class Agreement:
    """Sums over all workers, and whether any of them was asked to save or to stop."""

    loss: float
    tokens: int
    computed: int
    """Tokens that the layers compute: with padding, where there is any."""
    save: bool
    stop: bool
    ahead: Share
    """Of the next step: the most micro-batches of a worker, and the answers of all."""

    @classmethod
    def of(cls, loss: float, micro: list[MicroBatch], order: Order, ahead: Share) -> Agreement:
        """Every worker calls it once a step. `ahead` is its own share of the next one."""
        tokens, computed = (sum(column) for column in zip(*(m.size for m in micro), strict=True))
        sums = everyone([loss, tokens, computed, order.save, order.stop, ahead.answers, ahead.micro])
        loss, tokens, computed, save, stop, answers, _ = sums.sum(0).tolist()
        share = Share(int(sums[:, -1].max()), int(answers))
        return cls(loss, int(tokens), int(computed), bool(save), bool(stop), share)


def shared(share: Share) -> Share:
    """The most micro-batches of a worker and the answers of all. Every worker calls it."""
    found = everyone([share.micro, share.answers])
    return Share(int(found[:, 0].max()), int(found[:, 1].sum()))


def everyone(mine: list[float]) -> torch.Tensor:
    """float64 [workers, values], the same on every worker."""
    values = torch.tensor(mine, dtype=torch.float64)
    gathered = [torch.empty_like(values) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, values)
    return torch.stack(gathered)
