"""How much arithmetic training takes, and how much of it a device could do at most."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import torch

from gb_ray.train.planning import machines

FORWARD = 1 / 3
"""Of a step's operations: what recomputation does again, and a loss that compares micro-batches."""
TIMED_S = 0.2
SIZE = 512
"""Of the matrices that a CPU is timed with: they take its full rate, and are done before a neighbour has its turn."""


class Flops(NamedTuple):
    """Operations of training on one token, forward and backward."""

    without_attention: float
    with_attention: float


def flops_per_token(model: Any, length: float) -> Flops:
    """Model FLOPs of a token by both usual counts: 6N, and 6N + 12LHQT. https://arxiv.org/abs/2204.02311, appendix B.

    N are the parameters that multiply: tables that are looked up (input and position embeddings) are not among them,
    an output layer is, also where it shares its weights with a table. L are layers, HQ the heads' width in all.
    `length`, T, is how many tokens a token attends to; for samples of several lengths the mean over tokens, that is
    sum of squares over sum. Works on the meta device and on parameters that ZeRO 3 has shared out.
    """
    config = model.config.get_text_config()
    width = (getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads) * (
        config.num_attention_heads
    )
    plain = 6.0 * multiplying(model)
    return Flops(plain, plain + 12.0 * config.num_hidden_layers * width * length)


def hardware_flops(model_flops: float, recompute: bool, compared: bool = False) -> float:
    """What the device really computes: a forward pass more where activations are recomputed, and one more where
    micro-batches are `compared` with each other (train/contrast.py).
    """
    return model_flops * (1 + FORWARD * (recompute + compared))


def multiplying(model: Any) -> int:
    """Parameters that are multiplied with, in matrices, not looked up."""
    tables = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    output = model.get_output_embeddings()
    if output is not None:
        tables.discard(id(output.weight))
    # ZeRO 3 leaves an empty tensor where a parameter was, and its size beside it.
    return sum(getattr(p, "ds_numel", p.numel()) for p in model.parameters() if id(p) not in tables)


def peak(device: torch.device, precision: str) -> float | None:
    """FLOP/s that a device can do at most: of a GPU by its maker's page, of a CPU as its threads are measured now.

    None for a GPU that the catalogue does not have. Takes a fifth of a second on a CPU.
    """
    if device.type == "cuda":
        known = machines.by_device_name(torch.cuda.get_device_name(device))
        return known and known.peak(precision)
    return _measured(torch.float32 if precision == "fp32" else torch.bfloat16)


def _measured(dtype: torch.dtype) -> float:
    """FLOP/s of the fastest of repeated products of square matrices: a neighbour slows some, not all."""
    a, b = torch.ones(SIZE, SIZE, dtype=dtype), torch.ones(SIZE, SIZE, dtype=dtype)
    until, best = time.perf_counter() + TIMED_S, float("inf")
    while time.perf_counter() < until:
        began = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - began)
    return 2 * SIZE**3 / best
