"""Losses that compare all samples of a global batch, whichever worker and micro-batch has them.

    micro-batches  --forward, nothing kept-->  own vectors  --gather-->  vectors of the global batch
                                                                                  |
    gradients  <--forward and backward again--  gradient of own vectors  <--  losses of all pairs

A micro-batch needs of the others only the gradient of the loss with respect to its own vectors, which is small. So the
memory is that of one micro-batch, the gradient is exact, and it costs a forward pass more: Gao, Zhang, Han and Callan,
Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup (https://arxiv.org/abs/2101.06983). A worker
whose part of the batch is one micro-batch keeps what its backward pass needs, and saves that pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.distributed as dist

from gb_ray.tasks.embedding import Embedding
from gb_ray.train.agreement import everyone
from gb_ray.train.batch import MicroBatch
from gb_ray.train.engine import Engine


def contrasted(engine: Engine, task: Embedding, micro: list[MicroBatch], moved: Callable[[], None]) -> list[MicroBatch]:
    """A step's micro-batches of this worker, whose targets are then those that `Embedding.loss` takes.

    Every worker calls it once a step, and draws for dropout what it draws when it computes them next. `moved` is
    called after each group.
    """
    groups = [group for one in micro for group in one.groups]
    once = len(micro) == 1
    found = []
    with torch.set_grad_enabled(once):
        for group in groups:
            found.append(engine(**group.inputs))
            moved()
    parts = [outputs.logits.detach() for outputs in found]
    vectors, labels = torch.cat(parts), torch.cat([group.targets[0] for group in groups])
    # Query and document of each pair side by side; what only fills a place has a number below 0.
    order = (2 * labels[:, 0] + labels[:, 1]).argsort()[int((labels[:, 0] < 0).sum()) :]
    pairs, numbers = vectors[order].view(-1, 2, vectors.shape[1]), labels[order][::2, 2:]
    losses, gradient = _of_own(task, pairs, numbers)
    told = vectors.new_zeros(len(vectors), 1 + vectors.shape[1])
    told[order[::2], 0] = losses
    told[order, 1:] = gradient.flatten(0, 1)
    targets = told.split([len(part) for part in parts])
    known = iter(
        replace(group, targets=(wanted,), outputs=outputs if once else None)
        for group, wanted, outputs in zip(groups, targets, found, strict=True)
    )
    return [replace(one, groups=[next(known) for _ in one.groups]) for one in micro]


def _of_own(task: Embedding, pairs: torch.Tensor, numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The losses of own pairs, and the gradient of the losses of all pairs with respect to own vectors."""
    counts = everyone([len(pairs)])[:, 0].int().tolist()
    every, first = _gathered(pairs, counts).requires_grad_(), sum(counts[: dist.get_rank()])
    own = slice(first, first + len(pairs))
    losses = task.compare(every, _gathered(numbers, counts))
    (gradient,) = torch.autograd.grad(losses.sum(), every)
    return losses.detach()[own], gradient[own]


def _gathered(mine: torch.Tensor, counts: list[int]) -> torch.Tensor:
    """The rows of all workers, in their order; worker i has `counts[i]` of them."""
    room = mine.new_zeros(max(counts), *mine.shape[1:], device="cpu")
    room[: len(mine)] = mine
    found = [torch.empty_like(room) for _ in counts]
    dist.all_gather(found, room)
    return torch.cat([part[:count] for part, count in zip(found, counts, strict=True)]).to(mine.device)
