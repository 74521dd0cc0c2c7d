"""What DeepSpeed would write as a checkpoint, kept in host memory instead.

DeepSpeed hands every file it writes to a checkpoint engine
(https://github.com/deepspeedai/DeepSpeed/blob/master/deepspeed/runtime/checkpoint_engine/checkpoint_engine.py). This
one copies; the step goes on, and a thread writes the copies.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from deepspeed.runtime.checkpoint_engine import TorchCheckpointEngine


class Snapshots(TorchCheckpointEngine):
    """Takes the place of a DeepSpeed engine's `checkpoint_engine`. Loading is what it was."""

    def __init__(self) -> None:
        super().__init__()
        self._states: dict[str, Any] = {}

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Nothing is written here."""

    def save(self, state_dict: Any, path: str) -> None:
        """Copy what would go into the file."""
        self._states[path] = _copied(state_dict)

    def take(self) -> dict[str, Any]:
        """What was saved since the last call: {path: state}, all of it in host memory and shared with nobody."""
        states, self._states = self._states, {}
        return states


def _copied(item: Any) -> Any:
    if isinstance(item, torch.Tensor):
        return item.detach().to("cpu", copy=True)
    if isinstance(item, dict):
        same = copy.copy(item)  # of its own class
        for key, value in item.items():
            same[key] = _copied(value)
        return same
    if type(item) in (list, tuple):
        return type(item)(_copied(value) for value in item)
    # A loss scaler, say, which the next step changes.
    return copy.copy(item)
