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
        found = everyone([loss, tokens, computed, order.save, order.stop, ahead.micro, *ahead.answers])
        loss, tokens, computed, save, stop = found[:, :5].sum(0).tolist()
        return cls(loss, int(tokens), int(computed), bool(save), bool(stop), _of_all(found[:, 5:]))


def shared(share: Share) -> Share:
    """The most micro-batches of a worker and the answers of all. Every worker calls it."""
    return _of_all(everyone([share.micro, *share.answers]))


def _of_all(shares: torch.Tensor) -> Share:
    return Share(int(shares[:, 0].max()), tuple(map(int, shares[:, 1:].sum(0).tolist())))


def everyone(mine: list[float]) -> torch.Tensor:
    """float64 [workers, values], the same on every worker."""
    values = torch.tensor(mine, dtype=torch.float64)
    gathered = [torch.empty_like(values) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, values)
    return torch.stack(gathered)
