"""Copies of what an engine holds, which later steps do not reach."""

from __future__ import annotations

import copy
from typing import Any

import torch


def copied(item: Any) -> Any:
    """An equal state, all of it in host memory and shared with nobody."""
    if isinstance(item, torch.Tensor):
        return item.detach().to("cpu", copy=True)
    if isinstance(item, dict):
        same = copy.copy(item)  # of its own class
        for key, value in item.items():
            same[key] = copied(value)
        return same
    if type(item) in (list, tuple):
        return type(item)(copied(value) for value in item)
    # A loss scaler, say, which the next step changes.
    return copy.copy(item)
