"""What a worker trains with: the verbs of an engine, and which one a job gets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import torch

from gb_ray.model.hollow import Hollow
from gb_ray.section import UserError
from gb_ray.train.checkpoints.checkpoint import Checkpoint
from gb_ray.train.job import Job

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Of the weights that compute, by the recipe's precision."""


class Engine(Protocol):
    """One worker's part of the model, gradients and optimizer. All workers call the same verbs in the same order."""

    def __call__(self, **inputs: Any) -> Any:
        """The model's outputs."""

    def backward(self, loss: torch.Tensor, last: bool) -> None:
        """Add the gradients of `loss`, a part of the step's global loss; `last` closes the step's micro-batches."""

    def step(self, factor: float) -> None:
        """Update the weights at `factor` of each group's peak rate."""

    @property
    def grad_norm(self) -> float:
        """Of the last step, before clipping."""

    @property
    def module(self) -> torch.nn.Module:
        """The model, of which this worker may hold a part."""

    def averaged(self) -> AbstractContextManager[None]:
        """In its block the model answers with the weights that are exported: the average, where one is kept."""

    def snapshot(self, path: Path) -> dict[str, Any]:
        """What a checkpoint in the folder `path` consists of: {name of a file of this worker: its state}.

        The states are copies in host memory. Every worker calls it; nothing is written.
        """

    def load(self, found: Checkpoint) -> None:
        """Take up weights and optimizer state; every worker calls it."""

    def weights(self, untrained: Callable[[str], torch.Tensor]) -> Iterator[tuple[str, torch.Tensor]]:
        """(name, tensor) of all that an exported model holds, one whole fp32 tensor at a time.

        Every worker goes through all of them. `untrained` gives those that were not trained: the engine may hold a
        rounded copy of them.
        """


def start(hollow: Hollow, job: Job, precision: str, total: int, universal: bool) -> Engine:
    """At ZeRO 0 there is nothing to share out, and copying it for DeepSpeed would take a quarter of a step.

    `total`: steps of the run; `universal`: a checkpoint of another number of workers will be loaded. Raises UserError
    for what this machine or this model cannot do.
    """
    if precision == "fp16" and not job.gpus:
        raise UserError("train.precision: fp16 needs GPUs; on CPU set train.precision to bf16 or fp32")
    if job.zero == 0:
        from gb_ray.train.whole import Whole

        return Whole(hollow, job, precision, total)
    # Imported here: it imports DeepSpeed, for seconds.
    from gb_ray.train.sharded import Sharded

    return Sharded(hollow, job, precision, universal)
