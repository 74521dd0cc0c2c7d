"""Word embeddings of which a step touches few rows: only these are summed over the workers."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import nn


class Rows:
    """The gradient of an embedding's weights [vocabulary, size], fp32: dense to the optimizer, sent by row.

    What it holds after `finish` is equal to the sum over the workers of their dense gradients.
    """

    def __init__(self, weight: torch.Tensor):
        self.dense = torch.zeros_like(weight, dtype=torch.float32)
        self.sums = self.dense[:0]
        """[touched, size]: after `finish` the rows that some worker touched, in their order."""
        self._seen = torch.zeros(len(weight), dtype=torch.uint8, device=weight.device)
        self._touched = torch.empty(0, dtype=torch.int64, device=weight.device)
        self._asked: Any = None

    def touch(self, ids: torch.Tensor) -> None:
        """Rows that will get a gradient; called when they are looked up."""
        self._seen.index_fill_(0, ids, 1)

    def add(self, ids: torch.Tensor, gradient: torch.Tensor) -> None:
        """Add gradients [ids, size] to rows."""
        self.dense.index_add_(0, ids, gradient.float())

    def start(self) -> None:
        """Begin to ask the other workers for their rows; all of this worker's are touched by now."""
        self._asked = dist.all_reduce(self._seen, op=dist.ReduceOp.MAX, async_op=True)

    def finish(self) -> None:
        """Sum over the workers. Every worker calls it, with rows of its own or without."""
        self._asked.wait()
        self._touched = self._seen.nonzero().flatten()
        self.sums = self.dense.index_select(0, self._touched)
        dist.all_reduce(self.sums)

    def gather(self) -> torch.Tensor:
        """The dense gradient, with `sums` as they are now."""
        return self.dense.index_copy_(0, self._touched, self.sums)

    def clear(self) -> None:
        """Before the next step."""
        self.dense.index_fill_(0, self._touched, 0)
        self._seen.zero_()


class Table(nn.Embedding):
    """What nn.Embedding is, from fp32 weights to rows of `dtype`, with its gradient in `rows`."""

    rows: Rows
    dtype: torch.dtype

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Embeddings [..., size] of ids [...]."""
        if torch.is_grad_enabled():
            self.rows.touch(input.flatten())
        found: torch.Tensor = _Lookup.apply(self.weight, input, self)
        return found


def table(model: Any, dtype: torch.dtype) -> Table | None:
    """The word embeddings of a model, made a Table. None where they are not trained, or have another use as well."""
    found = model.get_input_embeddings()
    owners = sum(found.weight is one for module in model.modules() for one in module._parameters.values())
    plain = type(found) is nn.Embedding and found.max_norm is None and not found.scale_grad_by_freq
    if not plain or owners > 1 or not found.weight.requires_grad:
        return None
    found.__class__ = Table
    found.rows, found.dtype = Rows(found.weight), dtype
    return found


class _Lookup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: torch.Tensor, ids: torch.Tensor, table: Table) -> torch.Tensor:
        ctx.table, flat = table, ids.flatten()
        ctx.save_for_backward(flat)
        return weight.index_select(0, flat).to(table.dtype).view(*ids.shape, -1)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[None, None, None]:
        (ids,) = ctx.saved_tensors
        gradient = grads[0].reshape(len(ids), -1)
        if ctx.table.padding_idx is not None:
            gradient = gradient.masked_fill((ids == ctx.table.padding_idx)[:, None], 0)
        ctx.table.rows.add(ids, gradient)
        return None, None, None
