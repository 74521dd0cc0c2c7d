"""What a worker writes down while it trains, for those who watch."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from gb_ray.train.account.beat import Pulse, beats
from gb_ray.train.account.journal import Attempt, Journal
from gb_ray.train.agreement import Agreement
from gb_ray.train.checkpoints import checkpoint
from gb_ray.train.checkpoints.checkpoint import Progress
from gb_ray.train.job import Job
from gb_ray.train.planning import flops
from gb_ray.train.run import write_json
from gb_ray.train.schedule import Step
from gb_ray.train.worker import Worker

STOPPED = "stopped.json"
MEMORY_EVERY_S = 1.0


class Record:
    """Every worker gives signs of life; rank 0 keeps the journal and the attempt's account."""

    def __init__(self, job: Job):
        self._job, self._peak_rate = job, job.recipe.train.lr
        first = dist.get_rank() == 0
        self._attempt = Attempt(job.run / "attempts") if first else None
        self._journal = Journal(job.run / "metrics.jsonl") if first else None
        number = torch.tensor(self._attempt.number if self._attempt else 0)
        dist.broadcast(number, src=0)
        self._pulse = Pulse(job.run, dist.get_rank(), dist.get_world_size(), int(number))
        self._spent: dict[str, float] = {}
        self._last = -1
        self._memory, self._looked = 0, 0.0

    def ready(self, worker: Worker) -> None:
        """The worker has its model and its device: what a token of it costs, and what all devices could do."""
        if worker.device.type == "cuda":
            self._pulse.on(worker.device)
            if self._attempt:
                self._attempt.gpu = torch.cuda.get_device_name(worker.device)
        if self._journal:
            model = worker.engine.module
            self._flops = flops.flops_per_token(model, 0.0), flops.flops_per_token(model, 1.0)
            peak = flops.peak(worker.device, worker.precision)
            self._peak_flops = peak and peak * dist.get_world_size()

    @contextmanager
    def spends(self, category: str, step: Step | None = None) -> Iterator[None]:
        """Count the seconds of a block, and say that this worker is in it."""
        self._last = step.number if step else self._last
        self._pulse.at(category, self._last)
        began = time.perf_counter()
        if self._attempt:
            with self._attempt.spends(category):
                yield
        else:
            yield
        self._spent[category] = time.perf_counter() - began

    def moved(self) -> None:
        """This worker is done with a part of the block that it is in."""
        self._pulse.moved()

    def step(self, step: Step, all: Agreement, factor: float, grad_norm: float, also: dict[str, float]) -> None:
        """A step is done; `also` are further metrics of it."""
        if self._journal and self._attempt:
            seconds = self._spent["data"] + self._spent["compute"]
            metrics = {
                "loss": all.loss,
                "lr": self._peak_rate * factor,
                "grad_norm": grad_norm,
                "tokens_per_s": all.tokens / seconds,
                "padding": 1 - all.tokens / all.computed,
                "epoch": float(step.epoch),
                "memory": float(self._most_memory()),
                **{f"{category}_s": spent for category, spent in self._spent.items()},
                **also,
                **self._utilisation(all.tokens, step.stop - step.start, seconds),
            }
            self._journal.write(step.number, metrics)
            self._attempt.at(step.number)
        self._spent.clear()

    def stopped(self, progress: Progress) -> None:
        """The run ends here because somebody asked."""
        if self._attempt:
            path = checkpoint.place(self._job.run / "checkpoints", progress.steps)
            write_json(self._job.run / STOPPED, {"steps": progress.steps, "checkpoint": str(path)})
        self.close()

    def close(self) -> None:
        """The account of this attempt is whole."""
        self._pulse.close()
        if self._attempt:
            self._attempt.write(ended=True)

    def _utilisation(self, tokens: int, samples: int, seconds: float) -> dict[str, float]:
        """Share of the devices' peak, without and with attention, as if all samples were of one length; and that peak,
        in FLOP/s of all workers.
        """
        if self._peak_flops is None:
            return {}
        (plain, none), (_, of_one) = self._flops
        whole = none + (of_one - none) * tokens / samples
        rate = tokens / seconds / self._peak_flops
        return {"mfu": plain * rate, "mfu_attention": whole * rate, "peak_flops": self._peak_flops}

    def _most_memory(self) -> int:
        """Bytes of the worker that has most: on its GPU, or resident."""
        if time.monotonic() - self._looked > MEMORY_EVERY_S:
            self._looked = time.monotonic()
            self._memory = max(beat.gpu_memory or beat.memory for beat in beats(self._job.run))
        return self._memory
