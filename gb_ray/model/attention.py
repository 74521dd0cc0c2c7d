"""Attention within the samples of a packed row: every token sees its own sample and no other.

A packed row is [1, tokens]: samples one after another, so that no layer computes padding. Where GPUs have a kernel for
it, that kernel gets the row as it is. Elsewhere samples of near-equal length that stand side by side make a block,
which is padded for its attention alone. The functions are registered with `transformers`, whose models stay as is.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import Any, cast

import torch
import torch.nn.functional as F

from gb_ray.model import prefix
from gb_ray.model.dropout import drop
from gb_ray.model.prefix import Prefix

NAMES = {"eager": "packed-eager", "sdpa": "packed-sdpa"}
"""A recipe's `attention`: what computes a block."""
BLOCK = 40_000
"""Scores a head that cost as much time as one more block: about 0.1 ms."""


@dataclass(frozen=True)
class Block:
    """Samples side by side. Padded to the longest where their lengths differ.

    slots: int64 [samples * width], the token of each place, counted from `start`; what stands where there is none is
    not read. places: int64 [tokens], the reverse. filled: bool [samples, 1, 1, width]. None where lengths are equal.
    """

    start: int
    stop: int
    samples: int
    width: int
    slots: torch.Tensor | None = None
    places: torch.Tensor | None = None
    filled: torch.Tensor | None = None

    @classmethod
    def of(cls, lengths: list[int], start: int) -> Block:
        """Of samples of these lengths, the first of which begins at token `start`."""
        samples, width, tokens = len(lengths), max(lengths), sum(lengths)
        if samples * width == tokens:
            return cls(start, start + tokens, samples, width)
        filled = torch.arange(width) < torch.tensor(lengths)[:, None]
        places = filled.flatten().nonzero().flatten()
        slots = torch.zeros(samples * width, dtype=torch.int64)
        slots[places] = torch.arange(tokens)
        return cls(start, start + tokens, samples, width, slots, places, filled[:, None, None, :])

    def to(self, device: torch.device) -> Block:
        """On a device."""
        parts = (None if part is None else part.to(device) for part in (self.slots, self.places, self.filled))
        return Block(self.start, self.stop, self.samples, self.width, *parts)


@dataclass(frozen=True)
class Segments:
    """Where the samples of a packed row lie. edges: int32 [samples + 1], the token each begins at, and the end."""

    lengths: list[int]
    edges: torch.Tensor
    blocks: list[Block]

    @classmethod
    def of(cls, lengths: list[int]) -> Segments:
        """Samples of these lengths in this order, best sorted: neighbours share a block."""
        edges = [0, *accumulate(lengths)]
        starts = _blocks(lengths)
        blocks = [
            Block.of(lengths[first:last], edges[first])
            for first, last in zip(starts, [*starts[1:], len(lengths)], strict=True)
        ]
        return cls(lengths, torch.tensor(edges, dtype=torch.int32), blocks)

    def to(self, device: torch.device) -> Segments:
        """On a device."""
        return Segments(self.lengths, self.edges.to(device), [block.to(device) for block in self.blocks])

    @property
    def longest(self) -> int:
        """Tokens."""
        return max(self.lengths)


def _blocks(lengths: list[int]) -> list[int]:
    """The first sample of each block, such that padding and the number of blocks together cost least."""
    runs = [(length, len(list(alike))) for length, alike in groupby(lengths)]
    best = [(0, 0)]
    for last in range(1, len(runs) + 1):
        width = samples = 0
        cheapest = (-1, 0)
        for first in range(last - 1, -1, -1):
            width, samples = max(width, runs[first][0]), samples + runs[first][1]
            cost = BLOCK + samples * width * width
            if 0 <= cheapest[0] < cost:
                break
            option = (best[first][0] + cost, first)
            cheapest = option if cheapest[0] < 0 else min(cheapest, option)
        best.append(cheapest)
    starts, last = [], len(runs)
    while last:
        last = best[last][1]
        starts.append(sum(count for _, count in runs[:last]))
    return starts[::-1]


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    segments: Segments,
    kernel: str,
    scaling: float | None = None,
    dropout: float = 0.0,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """See `transformers.AttentionInterface`: query [1, heads, tokens, size] in, [1, tokens, heads, size] out.

    A token with a sliding window of n sees itself and n - 1 tokens on either side (before it, when causal).
    """
    causal = bool(getattr(module, "is_causal", False) if is_causal is None else is_causal)
    window = None if sliding_window is None or sliding_window >= segments.longest else sliding_window
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    learnt = prefix.of(module)
    # [tokens, heads, size], which in memory is what the projections gave.
    rows = [part[0].transpose(0, 1) for part in (query, key, value)]
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        rows[1:] = [part.repeat_interleave(groups, dim=1) for part in rows[1:]]
    halves = query.dtype in (torch.bfloat16, torch.float16)
    if kernel == "sdpa" and query.is_cuda and halves and not dropout and learnt is None:
        return _varlen(rows, segments, scale, causal, window)[None], None
    found = [_attend(rows, learnt, block, kernel, scale, dropout, causal, window) for block in segments.blocks]
    return (torch.cat(found) if len(found) > 1 else found[0])[None], None


def _varlen(
    rows: list[torch.Tensor], segments: Segments, scale: float, causal: bool, window: int | None
) -> torch.Tensor:
    """https://docs.pytorch.org/docs/stable/nn.attention.varlen.html, which knows no dropout."""
    from torch.nn.attention.varlen import varlen_attn

    edges, longest = segments.edges, segments.longest
    query, key, value = (part.contiguous() for part in rows)
    around = -1 if window is None else window - 1
    reach = around, 0 if causal else around
    found = varlen_attn(query, key, value, edges, edges, longest, longest, scale=scale, window_size=reach)
    return cast(torch.Tensor, found)


def _attend(
    rows: list[torch.Tensor],
    learnt: Prefix | None,
    block: Block,
    kernel: str,
    scale: float,
    dropout: float,
    causal: bool,
    window: int | None,
) -> torch.Tensor:
    """The block's tokens: [tokens, heads, size]."""
    parts = [part[block.start : block.stop] for part in rows]
    heads, size = parts[0].shape[1:]
    if block.slots is not None:
        parts = [_Spread.apply(part.reshape(-1, heads * size), block.slots, block.places) for part in parts]
    query, key, value = (part.reshape(block.samples, block.width, heads, size).transpose(1, 2) for part in parts)
    if learnt:
        key, value = learnt.before(key, value)
    # With dropout torch's own on CPU takes longer: it computes the same, draws slowly and looks for rows of nothing.
    if kernel == "sdpa" and (query.is_cuda or not dropout):
        # What stands after a sample is hidden by causality alone.
        alone = causal and window is None and learnt is None
        seen = None if alone else _seen(block, causal, window, query.device)
        seen = learnt.seen(seen) if learnt else seen
        found = F.scaled_dot_product_attention(query, key, value, seen, dropout_p=dropout, is_causal=alone, scale=scale)
    else:
        scores = (query * scale) @ key.transpose(2, 3)
        seen = _seen(block, causal, window, query.device)
        seen = learnt.seen(seen) if learnt else seen
        if seen is not None:
            scores = scores.masked_fill(~seen, torch.finfo(scores.dtype).min)
        # In 16 bits torch's own on CPU takes up to four times as long, where the width is no multiple of its vectors.
        shares = scores.softmax(-1, dtype=torch.float32).to(scores.dtype)
        found = drop(shares, dropout) @ value
    found = found.transpose(1, 2)
    if block.places is None:
        return found.reshape(-1, heads, size)
    gathered = _Gather.apply(found.reshape(-1, heads * size), block.places)
    return gathered.view(-1, heads, size)


def _seen(block: Block, causal: bool, window: int | None, device: torch.device) -> torch.Tensor | None:
    """Bool, broadcast to [samples, heads, width, width]: True where a token sees another. None where all see all."""
    if not causal and window is None:
        return block.filled
    place = torch.arange(block.width, device=device)
    ahead = place[None, :] - place[:, None]
    seen = (ahead <= 0) if causal else (ahead < (window or block.width))
    if window is not None:
        seen &= ahead > -window
    # A token of padding whose window holds nothing sees itself, lest its softmax be of nothing.
    return seen if block.filled is None else (seen & block.filled) | (ahead == 0)


class _Spread(torch.autograd.Function):
    """Tokens to places. Both directions only copy rows, where autograd's own would add them up one by one."""

    @staticmethod
    def forward(ctx: Any, tokens: torch.Tensor, slots: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(places)
        return tokens.index_select(0, slots)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        # Places without a token are hidden: no gradient comes from them.
        return grads[0].index_select(0, ctx.saved_tensors[0]), None, None


class _Gather(torch.autograd.Function):
    """Places to tokens."""

    @staticmethod
    def forward(ctx: Any, padded: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(places)
        ctx.size = len(padded)
        return padded.index_select(0, places)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        padded = grads[0].new_zeros(ctx.size, grads[0].shape[1])
        return padded.index_copy_(0, ctx.saved_tensors[0], grads[0]), None
