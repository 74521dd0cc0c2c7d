"""What the driver tells its workers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gb_ray.recipe import Recipe


@dataclass(frozen=True)
class Job:
    """A run as its workers see it. It travels to every one of them."""

    recipe: Recipe
    corpora: dict[str, Path | str]
    """Where each task's corpus is, by the names of the tasks."""
    run: Path
    """The run's directory, which all workers reach."""
    key: str
    """Of the run: a checkpoint with another key is not of this run."""
    started: float
    """Seconds since 1970 when the driver set out."""
    gpus: bool
    zero: int
    """The ZeRO stage, where the recipe leaves it to the plan."""
    manifest: dict[str, Any]
    """What the exported model will say of itself."""
    states: dict[str, dict[str, Any]]
    """What each task learnt of its train split beforehand: read once, for all workers and attempts."""
    old: dict[str, Path | str] = field(default_factory=dict)
    """Where each task's corpus is that `train.replay` mixes in."""
