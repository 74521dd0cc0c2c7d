"""A run's directory: what survives every restart of its job.

NAME-KEY-0001/
  run.json            state: key, MLflow run, what is known so far
  metrics.jsonl       the journal: one line a step, written by rank 0
  lives/0001.json     each driver: what it did when
  attempts/0001.json  each start of the workers: its steps and where its seconds went
  beats/0000          each worker: what it does now
  requests/           what people ask of it
  skipped.json        steps that are left out because of their loss
  checkpoints/step-00000050/   see checkpoint.py
  start/              the weights of the model gone on from, with a head for the run's labels; if these are others
  result.json, model/ at the end: totals, and the exported model
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from gb_ray.section import UserError

LOOKERS, LOOK_S = 10, 0.02


class Run:
    """One run. `state` is what run.json holds; `update` writes it through."""

    def __init__(self, path: Path):
        self.path = path
        self.state: dict[str, Any] = read_json(path / "run.json")

    @property
    def model(self) -> Path:
        """Where the exported model is, or will be."""
        return self.path / "model"

    @property
    def journal(self) -> Path:
        """The metrics of every step."""
        return self.path / "metrics.jsonl"

    @property
    def result(self) -> dict[str, Any] | None:
        """What the workers left at the end of training; None before."""
        file = self.path / "result.json"
        return read_json(file) if file.is_file() else None

    def update(self, **known: Any) -> None:
        """Remember, durably."""
        self.state.update(known)
        write_json(self.path / "run.json", self.state)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second driver off this run. Raises UserError, naming the process that has it."""
        with (self.path / "lock").open("a+") as file:
            # Those who only look whether it is held (runs.is_held) hold it too, for an instant.
            if not any(_lock(file) for _ in range(LOOKERS)):
                file.seek(0)
                owner = file.read() or "unknown"
                raise UserError(f"{self.path.name} is being run by process {owner}; wait for it, or stop it")
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield


def _lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        time.sleep(LOOK_S)
        return False
    return True


def find(home: Path, name: str, key: str, finished: bool) -> Run | None:
    """The newest run with this key that has, or has not, finished."""
    for path in sorted((home / "runs").glob(f"{name}-{key[:8]}-*"), reverse=True):
        if (path / "run.json").is_file():
            run = Run(path)
            if run.state["key"] == key and (run.state["status"] == "finished") == finished:
                return run
    return None


def create(home: Path, name: str, key: str) -> Run:
    """A new run's directory."""
    path = _next(home, name, key)
    path.mkdir(parents=True)
    write_json(path / "run.json", {"key": key, "name": name, "status": "running"})
    return Run(path)


def adopt(home: Path, name: str, key: str, path: Path, **known: Any) -> Run:
    """Give a run that was made at `path`, outside of the home's runs, its place, name and key among them."""
    place = _next(home, name, key)
    place.parent.mkdir(parents=True, exist_ok=True)
    Run(path).update(key=key, name=name, status="stopped", **known)
    path.rename(place)
    return Run(place)


def _next(home: Path, name: str, key: str) -> Path:
    """Where the next run with this name and key goes. People remove runs: the number is no count of what is there."""
    start = f"{name}-{key[:8]}-"
    ends = (path.name.removeprefix(start) for path in (home / "runs").glob(f"{start}*"))
    newest = max((int(end) for end in ends if end.isdigit()), default=0)
    return home / "runs" / f"{start}{newest + 1:04d}"


def read_json(path: Path) -> dict[str, Any]:
    """The mapping in a JSON file this project wrote."""
    return dict(json.loads(path.read_text(encoding="utf-8")))


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Replace a JSON file whole or not at all."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    with beside.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=1, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())
    beside.rename(path)
