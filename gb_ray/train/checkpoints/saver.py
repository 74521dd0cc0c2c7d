"""Saves checkpoints while training goes on."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import threading
from collections.abc import Callable
from datetime import timedelta
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
import torch.distributed as dist

from gb_ray.train.account import notes
from gb_ray.train.checkpoints import checkpoint
from gb_ray.train.checkpoints.checkpoint import Progress
from gb_ray.train.checkpoints.mirror import Mirror
from gb_ray.train.checkpoints.sealed import Entry, Torn
from gb_ray.train.engine import Engine
from gb_ray.train.job import Job

LONGEST = timedelta(days=1)
"""A peer that dies is noticed at once; one that takes long to write is waited for."""


class Saver:
    """Every worker has one and calls it at the same steps.

    The state is copied to host memory in the step's time; a thread writes, syncs and hashes the files, and rank 0's
    commits the checkpoint when all workers have theirs. The threads agree over a group of their own. A save that fails
    for want of space or of an answer is given up with a line in the run's notes, and the older checkpoints stay.
    """

    def __init__(self, job: Job, engine: Engine):
        section = job.recipe.train.checkpoint
        self._job, self._engine, self._keep = job, engine, section.keep
        self._rank, self._world = dist.get_rank(), dist.get_world_size()
        self._folder = job.run / "checkpoints"
        self._group = dist.new_group(backend="gloo", timeout=LONGEST)
        first = self._rank == 0
        self._mirror = Mirror(section.mirror, job, section.keep) if section.mirror and first else None
        attempt = [secrets.token_hex(4)]
        dist.broadcast_object_list(attempt, src=0)
        self._attempt = attempt[0]
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        if first:
            checkpoint.sweep(self._folder)

    def save(self, progress: Progress, wait: bool) -> None:
        """Copy the state and have it written; with `wait` it is committed, or given up, when this returns.

        Waits for the save before. Raises what ended that one, if it was neither the disk nor the store.
        """
        self._finish()
        path = checkpoint.part(self._folder, progress.steps, self._attempt)
        states = self._engine.snapshot(path)
        self._thread = threading.Thread(target=self._write, args=(path, states, progress), name="saver", daemon=True)
        self._thread.start()
        if wait:
            self._finish()

    def close(self, moved: Callable[[], None] = lambda: None) -> None:
        """Return when nothing is being written any more; `moved` is called while what is copied gets on."""
        self._finish()
        if self._mirror:
            self._mirror.close(moved)

    def _finish(self) -> None:
        if self._thread:
            self._thread.join()
            self._thread = None
        if self._error:
            raise self._error

    def _write(self, path: Path, states: dict[str, Any], progress: Progress) -> None:
        try:
            mine: dict[str, Entry] = {}
            failure = None
            try:
                for name, state in states.items():
                    mine[name] = write(path / name, state)
            except OSError as error:
                failure = f"worker {self._rank}: {error}"
            everyone: list[Any] = [None] * self._world
            dist.all_gather_object(everyone, (mine, failure), group=self._group)
            if self._rank == 0:
                failure = next((failed for _, failed in everyone if failed), None)
                files = {name: entry for entries, _ in everyone for name, entry in entries.items()}
                self._commit(path, files, progress, failure)
            # Nobody goes on to the next save, or says that this one is done, before it is.
            dist.barrier(group=self._group)
        except Exception as error:  # noqa: BLE001 - it is raised where the thread is waited for
            self._error = error

    def _commit(self, path: Path, files: dict[str, Entry], progress: Progress, failure: str | None) -> None:
        try:
            if not failure:
                checkpoint.commit(path, self._world, progress, self._job.key, files)
        except (OSError, Torn) as error:
            failure = str(error)
        if failure:
            shutil.rmtree(path, ignore_errors=True)
            text = f"the checkpoint after step {progress.steps} was given up: {failure}; training goes on"
            notes.say(self._job.run, text, gave_up=progress.steps)
            return
        best = None if progress.best is None else checkpoint.place(self._folder, progress.best)
        if self._mirror:
            self._mirror.copy(checkpoint.place(self._folder, progress.steps), best)
        try:
            spare = [*(self._mirror.copying if self._mirror else ()), *([best] if best else ())]
            checkpoint.prune(self._folder, self._keep, spare)
        except OSError as error:
            notes.say(self._job.run, f"an old checkpoint could not be removed: {error}")


def write(path: Path, state: Any) -> Entry:
    """Write a state to a file as torch.load reads it, durably. Returns its size and digest; raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb", buffering=0) as file:
        hashed = _Hashed(file)
        torch.save(state, cast(BinaryIO, hashed))
        entry = hashed.entry()
        os.fsync(file.fileno())
    return entry


class _Hashed:
    """A file that is hashed as it is written: nothing is read again."""

    def __init__(self, file: FileIO):
        self._file, self._digest, self._size = file, hashlib.sha256(), 0
        self._error: OSError | None = None

    def write(self, content: Any) -> int:
        """All of `content`. An error is kept for `entry`: torch's writer, in C++, would turn it into another."""
        view = memoryview(content).cast("B")
        size = len(view)
        try:
            while view and not self._error:
                done = self._file.write(view)
                self._digest.update(view[:done])
                view = view[done:]
        except OSError as error:
            self._error = error
        self._size += size
        return size

    def flush(self) -> None:
        """Nothing is held back."""

    def entry(self) -> Entry:
        """What was written. Raises the OSError that writing raised."""
        if self._error:
            raise self._error
        return self._size, self._digest.hexdigest()
