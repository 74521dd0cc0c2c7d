"""Cross entropy over a large vocabulary, without a copy of the logits in fp32."""

from __future__ import annotations

from typing import Any

import torch

ROWS = 256
"""Tokens whose probabilities are in memory at once, in fp32."""


class SummedEntropy(torch.autograd.Function):
    """Of logits [tokens, vocabulary] and targets int64 [tokens] the cross entropy in nats, summed (fp32 scalar).

    Tokens whose target is `ignored` count nothing. Only the logits are kept for the way back, where the probabilities
    are computed again, `ROWS` tokens at a time: memory is that of the logits and of their gradient, in their dtype.
    """

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, targets: torch.Tensor, ignored: int) -> torch.Tensor:
        ctx.save_for_backward(logits, targets)
        ctx.ignored = ignored
        total = torch.zeros((), device=logits.device)
        for rows, asked in zip(logits.split(ROWS), targets.split(ROWS), strict=True):
            places = (asked != ignored).nonzero().flatten()
            told = rows[places].float()
            total += (told.logsumexp(-1) - told.gather(1, asked[places, None])[:, 0]).sum()
        return total

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        logits, targets = ctx.saved_tensors
        found = torch.zeros_like(logits)
        for rows, asked, into in zip(logits.split(ROWS), targets.split(ROWS), found.split(ROWS), strict=True):
            places = (asked != ctx.ignored).nonzero().flatten()
            share = rows[places].float().softmax(-1)
            share[torch.arange(len(places), device=share.device), asked[places]] -= 1
            into[places] = share.mul_(grads[0]).to(into.dtype)
        return found, None, None
