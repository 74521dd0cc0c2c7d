"""What DeepSpeed would write as a checkpoint, kept in host memory instead.

DeepSpeed hands every file it writes to a checkpoint engine
(https://github.com/deepspeedai/DeepSpeed/blob/master/deepspeed/runtime/checkpoint_engine/checkpoint_engine.py). This
one copies; the step goes on, and a thread writes the copies.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from deepspeed.runtime.checkpoint_engine import TorchCheckpointEngine


class Snapshots(TorchCheckpointEngine):
    """Takes the place of a DeepSpeed engine's `checkpoint_engine`. Loading is what it was."""

    def __init__(self) -> None:
        super().__init__()
        self._states: dict[str, Any] = {}
        self._used: dict[str, Any] = {}

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Nothing is written here."""

    def save(self, state_dict: Any, path: str) -> None:
        """Copy what would go into the file."""
        name = Path(path).name
        self._states[path] = self._used[name] = _copied(state_dict, self._used.get(name))

    def take(self) -> dict[str, Any]:
        """What was saved since the last call: {path: state}, all of it in host memory.

        The next save writes into the same memory: fresh memory took as long again as the copying.
        """
        states, self._states = self._states, {}
        return states


def _copied(item: Any, used: Any) -> Any:
    """A copy of an item, in the memory of an earlier copy of it where there is one."""
    if isinstance(item, torch.Tensor):
        if isinstance(used, torch.Tensor) and (used.shape, used.dtype) == (item.shape, item.dtype):
            return used.copy_(item.detach())
        return item.detach().to("cpu", copy=True)
    if isinstance(item, dict):
        same = copy.copy(item)  # of its own class
        before = used if isinstance(used, dict) else {}
        for key, value in item.items():
            same[key] = _copied(value, before.get(key))
        return same
    if type(item) in (list, tuple):
        beside = used if type(used) is type(item) and len(used) == len(item) else [None] * len(item)
        return type(item)(_copied(value, at) for value, at in zip(item, beside, strict=True))
    # A loss scaler, say, which the next step changes.
    return copy.copy(item)
