"""Copies of what an engine holds, which later steps do not reach."""

from __future__ import annotations

import copy
from typing import Any

import torch


def copied(item: Any, used: Any = None) -> Any:
    """An equal state, all of it in host memory; in that of `used`, an earlier copy, wherever it fits.

    Fresh memory takes as long again as the copying.
    """
    if isinstance(item, torch.Tensor):
        if isinstance(used, torch.Tensor) and (used.shape, used.dtype) == (item.shape, item.dtype):
            return used.copy_(item.detach())
        return item.detach().to("cpu", copy=True)
    if isinstance(item, dict):
        same = copy.copy(item)  # of its own class
        before = used if isinstance(used, dict) else {}
        for key, value in item.items():
            same[key] = copied(value, before.get(key))
        return same
    if type(item) in (list, tuple):
        beside = used if type(used) is type(item) and len(used) == len(item) else [None] * len(item)
        return type(item)(copied(value, at) for value, at in zip(item, beside, strict=True))
    # A loss scaler, say, which the next step changes.
    return copy.copy(item)
