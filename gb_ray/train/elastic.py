"""Ray Train's side of a run whose workers come and go. Its controller, a process of its own, calls `SaveFirst`."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.v2._internal.execution.callback import ControllerCallback
from ray.train.v2._internal.execution.controller.state import (
    PreemptingState,
    ResizingState,
    RestartingState,
    SchedulingState,
)

from gb_ray.train import preemption
from gb_ray.train.account import notes
from gb_ray.train.checkpoints import checkpoint
from gb_ray.train.guard import MOST_SKIPS
from gb_ray.train.job import Job

if TYPE_CHECKING:
    from ray.train.v2._internal.execution.controller.state import TrainControllerState

RESIZE_EVERY_S = 15.0
"""Seconds between looks at a cluster that may have grown. A resize costs about as much."""
SAVE_WITHIN_S = 300.0
LOOK_EVERY_S = 0.5
"""Seconds between Ray Train's looks at its workers, 2 by default: a lost one is noticed at the next."""


def prepare() -> None:
    """Call it before the trainer is made, in its process."""
    # Ray Train has no other way to be told; its controller gets it from this process.
    os.environ["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"] = str(LOOK_EVERY_S)


def scaling(job: Job) -> ScalingConfig:
    """How many workers, of what; with [fewest, most] as many as the cluster has at the moment."""
    return ScalingConfig(
        num_workers=job.recipe.train.workers,
        use_gpu=job.gpus,
        resources_per_worker={"CPU": 1.0, "GPU": 1.0} if job.gpus else {"CPU": 1.0},
        elastic_resize_monitor_interval_s=RESIZE_EVERY_S,
    )


def running(job: Job) -> RunConfig:
    """What a lost worker leads to. Nodes that are taken away with notice do not count as failures.

    A step that is left out restarts the workers too, which Ray Train counts: the guard has its own limit of those.
    """
    section = job.recipe.train
    skips = MOST_SKIPS if section.bad_loss.policy == "skip" else 0
    return RunConfig(
        name="ray-train",
        storage_path=str(job.run.absolute()),
        failure_config=FailureConfig(max_failures=section.max_failures + skips),
        callbacks=[SaveFirst(job.run)],
    )


class SaveFirst(ControllerCallback):
    """Has a checkpoint made before workers are taken away or started anew, so that little or nothing is done twice.

    Ray's own `get_preemption_info` is a barrier over all workers at every call; here they look at a file.
    """

    def __init__(self, run: Path):
        self._run = run

    def after_controller_state_update(
        self, previous_state: TrainControllerState, current_state: TrainControllerState
    ) -> None:
        """Called for every move of the controller."""
        if isinstance(current_state, SchedulingState):
            preemption.withdraw(self._run)
        elif isinstance(current_state, RestartingState):
            look_again()
        elif isinstance(current_state, ResizingState):
            self._before_resize(current_state.scaling_decision.num_workers)
        elif isinstance(current_state, PreemptingState) and not isinstance(previous_state, PreemptingState):
            self._before_preemption(current_state)

    def _before_resize(self, workers: int) -> None:
        """Ray Train ends the workers as soon as this returns."""
        why = f"the cluster changed: the run goes on with {workers} workers after a checkpoint"
        notes.say(self._run, why)
        folder = self._run / "checkpoints"
        before = checkpoint.reached(folder)
        preemption.give(self._run, why)
        deadline = time.monotonic() + SAVE_WITHIN_S
        while checkpoint.reached(folder) == before and time.monotonic() < deadline:
            if (self._run / "result.json").is_file():
                return
            time.sleep(0.1)

    def _before_preemption(self, state: PreemptingState) -> None:
        info = state.preemption_info
        deadline = info.deadline_ms / 1000 if info.deadline_ms else None
        left = f" in {max(0.0, deadline - time.time()):.0f} s" if deadline else ""
        ranks = ", ".join(map(str, info.preempted_ranks))
        why = f"the cluster takes workers {ranks} away{left}: a checkpoint is made at once"
        notes.say(self._run, why)
        preemption.give(self._run, why, deadline)


def look_again() -> None:
    """Have Ray count its nodes now.

    It does so every 20 s; a node that was lost since would still be counted, and Ray Train would wait for 60 s for
    workers on it.
    """
    from ray.data._internal.cluster_autoscaler.default_autoscaling_coordinator import (
        get_or_create_autoscaling_coordinator,
    )

    with suppress(ray.exceptions.RayError):  # it is only slower without
        ray.get(get_or_create_autoscaling_coordinator().get_reserved_resources.remote("", True), timeout=5)
