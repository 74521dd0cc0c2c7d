"""The gradients of a step: kept in one piece of fp32 memory, and summed over the workers while they are computed."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.distributed as dist

from gb_ray.train.rows import Rows

BUCKET = 4_000_000
"""Elements that travel at once, or more where one parameter has more: few calls, and the first leaves early."""


class Gradients:
    """Sums of all micro-batches. What a parameter computes in 16 bits is added up in fp32.

    Every worker sends the same buckets in the same order, whatever its share of the step touched.
    """

    def __init__(self, parameters: list[torch.nn.Parameter], rows: list[Rows]):
        """`parameters` in the order of the forward pass."""
        self._rows = rows
        # The last layers have theirs first.
        self._parameters = parameters[::-1]
        sizes = [parameter.numel() for parameter in self._parameters]
        self._flat = torch.zeros(sum(sizes), device=parameters[0].device if parameters else None)
        pieces = self._flat.split(sizes) if sizes else ()
        self._views = [piece.view(one.shape) for piece, one in zip(pieces, self._parameters, strict=True)]
        self._bucket, self._buckets = _buckets(self._flat, sizes)
        for index, parameter in enumerate(self._parameters):
            parameter.register_post_accumulate_grad_hook(partial(self._take, index))
        self._filled: set[int] = set()
        self._sent: list[Any] = []
        self._missing: list[int] = []

    def backward(self, loss: torch.Tensor, last: bool) -> None:
        """Add the gradients of `loss`; after the `last` they are the sums over all workers."""
        self._missing = [self._bucket.count(number) if last else -1 for number in range(len(self._buckets))]
        if last:
            for rows in self._rows:
                rows.start()
        loss.backward()
        if last:
            self._finish()

    def tensors(self) -> list[torch.Tensor]:
        """All that is not zero, to be measured and scaled in place."""
        return [*self._views, *(rows.sums for rows in self._rows)]

    def of(self) -> list[torch.Tensor]:
        """The gradient of each parameter, in the order they were given; then that of each of the rows."""
        return [*self._views[::-1], *(rows.gather() for rows in self._rows)]

    def clear(self) -> None:
        """Before the next step."""
        self._filled.clear()
        for rows in self._rows:
            rows.clear()

    def _take(self, index: int, parameter: torch.nn.Parameter) -> None:
        assert parameter.grad is not None
        view = self._views[index]
        (view.add_ if index in self._filled else view.copy_)(parameter.grad)
        parameter.grad = None
        self._filled.add(index)
        self._missing[self._bucket[index]] -= 1
        self._send()

    def _send(self) -> None:
        while len(self._sent) < len(self._buckets) and self._missing[len(self._sent)] == 0:
            self._sent.append(dist.all_reduce(self._buckets[len(self._sent)], async_op=True))

    def _finish(self) -> None:
        for index in set(range(len(self._views))) - self._filled:
            self._views[index].zero_()
        self._missing = [0] * len(self._buckets)
        self._send()
        for rows in self._rows:
            rows.finish()
        for sent in self._sent:
            sent.wait()
        self._sent.clear()


def _buckets(flat: torch.Tensor, sizes: list[int]) -> tuple[list[int], list[torch.Tensor]]:
    """The bucket of each piece, and the buckets."""
    numbers, lengths = list[int](), list[int]()
    for size in sizes:
        if not lengths or lengths[-1] >= BUCKET:
            lengths.append(0)
        lengths[-1] += size
        numbers.append(len(lengths) - 1)
    return numbers, list(flat.split(lengths)) if lengths else []
