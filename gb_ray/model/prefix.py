"""Prefixes: learnt keys and values that every token of a text sees, in each layer, before those of the text.

Li and Liang, https://arxiv.org/abs/2101.00190, without their reparametrisation. A prefix has no position of its own:
texts count theirs from 0 as without it, so that nothing else in a model knows of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from gb_ray.section import UserError

NAMES = {"eager": "prefix-eager", "sdpa": "prefix-sdpa"}
"""A recipe's `attention`: what computes padded rows that have a prefix."""
QUERIES = ("q_proj", "query", "q_lin", "Wqkv")
"""What the attention of an architecture calls its map to queries."""
SPREAD = 0.02


@dataclass(frozen=True)
class Prefix:
    """Of one layer: keys and values, [heads of keys, tokens, size of a head] each."""

    key: torch.Tensor
    value: torch.Tensor

    def before(self, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of samples, [samples, heads, width, size], with the prefix before each."""
        return _join(self.key, key), _join(self.value, value)

    def seen(self, mask: torch.Tensor | None) -> torch.Tensor | None:
        """A mask [..., width] of what a token sees (bool), or None, with the prefix in sight of every token."""
        return None if mask is None else F.pad(mask, (self.key.shape[1], 0), value=True)


def attach(model: Any, tokens: int) -> None:
    """Give each layer of a model a prefix, drawn from torch's generator, and train that alone.

    Raises UserError for an architecture that is not known.
    """
    config = model.config
    layers = [module for module in model.modules() if any(hasattr(module, name) for name in QUERIES)]
    if not layers:
        raise UserError(f"model.adapter: prefix is not known for {config.model_type}; use lora")
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    for layer in layers:
        for part in ("key", "value"):
            drawn = torch.nn.Parameter(SPREAD * torch.randn(heads, tokens, size))
            layer.register_parameter(f"prefix_{part}", drawn)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for layer in layers:
        layer.prefix_key.requires_grad_(True)
        layer.prefix_value.requires_grad_(True)
    _register()
    if config._attn_implementation in NAMES:  # and not one of packed rows, which reads prefixes too
        model.set_attn_implementation(NAMES[config._attn_implementation])


def of(layer: torch.nn.Module) -> Prefix | None:
    """That of an attention layer, if it has one."""
    key = getattr(layer, "prefix_key", None)
    return None if key is None else Prefix(key, layer.prefix_value)  # type: ignore[arg-type]


def kernel(name: str) -> str:
    """A recipe's `attention`, from what a model calls its attention with or without prefixes."""
    return {prefixed: plain for plain, prefixed in NAMES.items()}.get(name, name)


def _register() -> None:
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    for name, prefixed in NAMES.items():
        AttentionInterface.register(prefixed, partial(_attention, exact=name == "eager"))
        AttentionMaskInterface.register(prefixed, sdpa_mask)


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    exact: bool,
    scaling: float | None = None,
    dropout: float = 0.0,
    is_causal: bool | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """See `transformers.AttentionInterface`: query [samples, heads, width, size] in, heads and width swapped out."""
    learnt = of(module)
    assert learnt
    causal = bool(getattr(module, "is_causal", False) if is_causal is None else is_causal)
    width = query.shape[2]
    mask = attention_mask
    if mask is None and causal and width > 1:
        mask = torch.ones(width, key.shape[2], dtype=torch.bool, device=key.device).tril(key.shape[2] - width)
    key, value = learnt.before(key, value)
    mask = learnt.seen(mask)
    if exact:
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
        scores = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
        if mask is not None:
            scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        shares = scores.softmax(-1, dtype=torch.float32).to(scores.dtype)
        found = F.dropout(shares, dropout, module.training) @ value
    else:
        found = F.scaled_dot_product_attention(
            query, key, value, mask, dropout if module.training else 0.0, scale=scaling, enable_gqa=True
        )
    return found.transpose(1, 2).contiguous(), None


def _join(prefix: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    groups = rows.shape[1] // prefix.shape[0]
    prefix = prefix.to(rows.dtype).repeat_interleave(groups, dim=0)
    return torch.cat([prefix[None].expand(len(rows), -1, -1, -1), rows], dim=2)
