"""What DeepSpeed would write as a checkpoint, kept in host memory instead.

DeepSpeed hands every file it writes to a checkpoint engine
(https://github.com/deepspeedai/DeepSpeed/blob/master/deepspeed/runtime/checkpoint_engine/checkpoint_engine.py). This
one copies; the step goes on, and a thread writes the copies.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deepspeed.runtime.checkpoint_engine import TorchCheckpointEngine

from gb_ray.train.checkpoints.copied import copied


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
        self._states[path] = self._used[name] = copied(state_dict, self._used.get(name))

    def take(self) -> dict[str, Any]:
        """What was saved since the last call: {path: state}, in memory that the next save writes into."""
        states, self._states = self._states, {}
        return states
