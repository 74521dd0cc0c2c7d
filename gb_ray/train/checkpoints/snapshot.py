"""What DeepSpeed would write as a checkpoint, kept in host memory instead.

DeepSpeed hands every file it writes to a checkpoint engine
(https://github.com/deepspeedai/DeepSpeed/blob/master/deepspeed/runtime/checkpoint_engine/checkpoint_engine.py). This
one copies; the step goes on, and a thread writes the copies.
"""

from __future__ import annotations

from typing import Any

from deepspeed.runtime.checkpoint_engine import TorchCheckpointEngine

from gb_ray.train.checkpoints.copied import copied


class Snapshots(TorchCheckpointEngine):
    """Takes the place of a DeepSpeed engine's `checkpoint_engine`. Loading is what it was."""

    def __init__(self) -> None:
        super().__init__()
        self._states: dict[str, Any] = {}

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Nothing is written here."""

    def save(self, state_dict: Any, path: str) -> None:
        """Copy what would go into the file."""
        self._states[path] = copied(state_dict)

    def take(self) -> dict[str, Any]:
        """What was saved since the last call: {path: state}, all of it in host memory and shared with nobody."""
        states, self._states = self._states, {}
        return states
