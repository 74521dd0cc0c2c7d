"""AdaLoRA's ranks: which directions of an adapter are kept, and which are given up.

An adapted matrix has B diag(E) A added to it: A [ranks, in], E [ranks, 1], B [out, ranks]. A rank is one row of A with
its number in E and its column of B. Zhang et al., https://arxiv.org/abs/2303.10512; the constants are those of
https://huggingface.co/docs/peft/package_reference/adalora.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

PULL = 0.5
"""Weight of what A and B lack to being orthogonal."""
MEMORY = 0.85
"""Of the moving averages of sensitivity and of its uncertainty."""
BEFORE, AFTER = 0.1, 0.3
"""Shares of the run in which all ranks learn, and in which those that are left learn on."""


class Ranks:
    """Of all adapted matrices together. It counts the updates, and takes ranks away in the middle part of the run.

    Every worker takes away the same ones: what is looked at are weights and the sums of all workers' gradients.
    """

    def __init__(self, trained: dict[str, torch.nn.Parameter], rank: int, total: int):
        """`rank` is how many are left to each matrix on average; `total` the number of updates of the run."""
        ends = ("lora_A.", "lora_E.", "lora_B.")
        self._a, self._e, self._b = ([one for name, one in trained.items() if end in name] for end in ends)
        self._first = sum(len(one) for one in self._e)
        self._last, self._total, self._updates = rank * len(self._e), total, 0
        self._sensitivity = [torch.zeros_like(one, requires_grad=False) for one in self._all()]
        self._uncertainty = [torch.zeros_like(one, requires_grad=False) for one in self._all()]
        self._kept = torch.ones(self._first, dtype=torch.bool)

    def pull(self, gradients: Iterable[tuple[torch.nn.Parameter, torch.Tensor]], scale: float) -> None:
        """Add to the gradients, which are `scale` times too large, that of PULL times the mean over all A and B of

        | A A^T - 1 |, | B^T B - 1 |    (Frobenius norms)
        """
        matrices = [*self._a, *self._b]
        with torch.enable_grad():
            squares = [one @ one.T for one in self._a] + [one.T @ one for one in self._b]
            apart = [torch.linalg.matrix_norm(one - torch.eye(len(one), device=one.device)) for one in squares]
            found = torch.autograd.grad(scale * PULL * torch.stack(apart).mean(), matrices)
        pulls = {id(one): gradient for one, gradient in zip(matrices, found, strict=True)}
        for owner, gradient in gradients:
            if id(owner) in pulls:
                gradient.add_(pulls[id(owner)].view_as(gradient))

    @torch.no_grad()
    def prune(self) -> None:
        """After an update, the parameters' gradients still being there: set E of the ranks that are given up to 0.

        Those of the middle part may come back, as long as they are among the most important of their time.
        """
        self._updates += 1
        self._learn()
        if self._updates <= self._total * (1 - AFTER):
            kept = torch.topk(torch.cat(self._importance()), self.budget).indices
            self._kept = torch.zeros(self._first, dtype=torch.bool)
            self._kept[kept] = True
        for one, kept in zip(self._e, self._kept.split([len(one) for one in self._e]), strict=True):
            one[~kept.to(one.device)] = 0

    @property
    def budget(self) -> int:
        """Ranks that are left: all, then fewer along a cubic, then the `rank` of each matrix on average."""
        begin, end = self._total * BEFORE, self._total * (1 - AFTER)
        left = min(1.0, max(0.0, (end - self._updates) / (end - begin)))
        return self._last + round((self._first - self._last) * left**3)

    def _all(self) -> list[torch.nn.Parameter]:
        return [*self._a, *self._e, *self._b]

    def _learn(self) -> None:
        """Equations 9 and 10 of the paper."""
        for one, mean, spread in zip(self._all(), self._sensitivity, self._uncertainty, strict=True):
            assert one.grad is not None
            now = (one * one.grad).abs()
            mean.lerp_(now, 1 - MEMORY)
            spread.lerp_((now - mean).abs(), 1 - MEMORY)

    def _importance(self) -> list[torch.Tensor]:
        """Equation 11, of each rank of each matrix: that of its number, and the means over its row and its column."""
        scores = [(mean * spread).cpu() for mean, spread in zip(self._sensitivity, self._uncertainty, strict=True)]
        count = len(self._e)
        parts = zip(scores[:count], scores[count : 2 * count], scores[2 * count :], strict=True)
        return [e.flatten() + a.mean(dim=1) + b.mean(dim=0) for a, e, b in parts]

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {
            "updates": self._updates,
            "kept": self._kept,
            "sensitivity": self._sensitivity,
            "uncertainty": self._uncertainty,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take up what was saved."""
        self._updates, self._kept = state["updates"], state["kept"].clone()
        for mine, saved in ((self._sensitivity, "sensitivity"), (self._uncertainty, "uncertainty")):
            for one, value in zip(mine, state[saved], strict=True):
                one.copy_(value)
