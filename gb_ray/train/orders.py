"""What people and the cluster ask of a run while it trains.

A request is a file in requests/ of the run's directory, which the command line and the workers reach. Rank 0 sees it
between two steps and notes in it after which step it will be met.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Literal, NamedTuple

from gb_ray.train.job import Job
from gb_ray.train.preemption import Preemption
from gb_ray.train.run import read_json, write_json
from gb_ray.train.schedule import Step

FOLDER = "requests"


class Order(NamedTuple):
    """`save`: a checkpoint after this step. `stop`: a checkpoint, then the end."""

    save: bool
    stop: bool


class Orders:
    """One worker's view."""

    def __init__(self, job: Job):
        self._folder = job.run / FOLDER
        self._folder.mkdir(exist_ok=True)
        # Imported here: it takes seconds, and those who ask do not need it.
        import torch.distributed as dist

        self._first = dist.get_rank() == 0
        self._preemption = Preemption(job.run)
        # Not what an attempt before this one took up: it may have died on the way.
        self._taken: set[str] = set()

    def seen(self, step: Step) -> Order:
        """What was asked since the last call; it will be met after this step."""
        save = stop = False
        if self._first:
            save = self._preemption.seen()
            for path in sorted(self._folder.glob("*.json")):
                if path.name not in self._taken:
                    self._taken.add(path.name)
                    request = _take(path, step.number + 1)
                    save, stop = save or request == "save", stop or request == "stop"
        return Order(save, stop)


def ask(run: Path, what: Literal["save", "stop"]) -> Path:
    """Leave a request with a run. Returns its file, which will have the key `steps` when it was taken up."""
    folder = run / FOLDER
    folder.mkdir(exist_ok=True)
    path = folder / f"{time.time_ns()}-{os.getpid()}.json"
    write_json(path, {"what": what})
    return path


def forget(run: Path) -> None:
    """Drop what was asked of an earlier life of the run; its driver calls it before it starts workers."""
    shutil.rmtree(run / FOLDER, ignore_errors=True)


def _take(path: Path, steps: int) -> str | None:
    try:
        request = read_json(path)
        write_json(path, request | {"steps": steps})
    except FileNotFoundError:
        # The one who asked changed their mind.
        return None
    return str(request["what"])
