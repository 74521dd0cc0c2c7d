"""Training against an adversary that moves the word embeddings of every sample to where the loss is larger."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from gb_ray.train.batch import Group
from gb_ray.train.engine import Engine
from gb_ray.train.section import AdversarySection

Part = Callable[[Group, Any], tuple[torch.Tensor, torch.Tensor]]
"""(What a group adds to the loss that is minimised, and to the one that is shown), by a model."""
REACH = 2.5
"""Radii that the steps of pgd are long together, as in Madry et al.: it can come back from where it went wrong."""

LARGER = 2.0**10
"""What the gradients of pgd's steps are computed as: fp16 does not hold small ones. Their norm takes it out again."""


class Adversary:
    """Adds to the loss the same loss at word embeddings x + r, |r| <= radius, with r constant to the gradient.

    fgm: r = radius * g / |g|, where g is the gradient of the loss at x. Miyato, Dai and Goodfellow, Adversarial
    Training Methods for Semi-Supervised Text Classification (https://arxiv.org/abs/1605.07725, equations 4 and 5).
    pgd: from r = 0 `steps` times r + REACH * radius / steps * g / |g| with g at x + r, each time brought back to the
    radius. Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks (https://arxiv.org/abs/
    1706.06083, section 2.1).

    Norms are L2, over all tokens of one sample: r depends on the sample and the weights, not on what it is laid out
    with, and the batch's mean is a factor of g that |g| takes out again. Dropout is drawn anew in every pass.
    """

    def __init__(self, model: Any, section: AdversarySection):
        self._radius, self._steps = section.radius, section.gradients
        self._embeddings = model.get_input_embeddings()
        self._embeddings.register_forward_hook(self._move)
        self._by: torch.Tensor | None = None

    def backward(self, groups: Sequence[Group], part: Part, engine: Engine, last: bool) -> torch.Tensor:
        """Add the gradients of both losses of a micro-batch to the engine's. Returns the loss shown, where x is."""
        still = [self._still(group) for group in groups]
        minimised, shown = self._losses(groups, still, part, engine)
        engine.backward(minimised, False)
        moved = [self._next(*one) for one in zip(groups, still, [by.grad for by in still], strict=True)]
        for _ in range(self._steps - 1):
            # By the module: of these passes the engine keeps nothing, and has nothing to send.
            minimised, _ = self._losses(groups, moved, part, engine.module)
            found = torch.autograd.grad(minimised * LARGER, moved)
            moved = [self._next(*one) for one in zip(groups, moved, found, strict=True)]
        minimised, _ = self._losses(groups, [by.detach() for by in moved], part, engine)
        engine.backward(minimised, last)
        return shown

    def _losses(
        self, groups: Sequence[Group], by: Sequence[torch.Tensor], part: Part, model: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        parts = []
        for group, move in zip(groups, by, strict=True):
            self._by = move
            parts.append(part(group, model))
        self._by = None
        minimised, shown = (torch.stack(column).sum() for column in zip(*parts, strict=True))
        return minimised, shown

    def _move(self, embeddings: Any, args: Any, output: torch.Tensor) -> torch.Tensor:
        return output if self._by is None else output + self._by.to(output.dtype)

    def _still(self, group: Group) -> torch.Tensor:
        ids = group.input_ids
        return torch.zeros(*ids.shape, self._embeddings.embedding_dim, device=ids.device, requires_grad=True)

    def _next(self, group: Group, by: torch.Tensor, gradient: torch.Tensor | None) -> torch.Tensor:
        """Where a step along the gradient leads: fp32 [..., tokens, size], as `by`."""
        assert gradient is not None
        step = self._radius if self._steps == 1 else REACH * self._radius / self._steps
        # A sample of which nothing is asked has no gradient, and stays.
        taken = by.detach() + step * gradient / group.norms(gradient).clamp(min=torch.finfo(torch.float32).tiny)
        norms = group.norms(taken)
        return (taken * (self._radius / norms.clamp(min=self._radius))).requires_grad_()
