"""Checkpoints under a commit protocol.

A directory is a checkpoint if and only if its manifest.json is there and every file matches it (see sealed.py). It is
written under another name and renamed into place when it is whole, so a save that was cut short leaves nothing that
passes for one. Loading walks from the newest to the oldest until one verifies, and nothing is unpickled before that.

checkpoints/
  step-00000050/                 a checkpoint
    manifest.json, state/...     what the engine's snapshot is
    universal/                   derived from them for another number of workers: sealed by a manifest of its own
  step-00000100.3fa9c1.part/     being written by one attempt
  step-00000150.damaged/         did not verify, and the run went on from an older one
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gb_ray.train.account import notes
from gb_ray.train.checkpoints.sealed import MANIFEST, Entry, Torn, manifest, seal, sync, verify
from gb_ray.train.run import read_json

if TYPE_CHECKING:
    from gb_ray.train.agreement import Agreement
    from gb_ray.train.schedule import Step

STATE = "state"
"""The folder inside a checkpoint that holds what the engine saved."""
UNIVERSAL = "universal"
"""The folder that `sharded.reshape` derives from it."""
NAME = re.compile(r"step-(\d{8,})")
DAMAGED = ".damaged"


@dataclass(frozen=True)
class Progress:
    """How far a run is: all of it that is not weights and optimizer state."""

    steps: int
    samples: int
    tokens: int
    computed: int
    """Tokens with padding."""
    best: int | None = None
    """Steps after which the validation split was answered best, where it is measured."""
    best_value: float = 0.0
    worse: int = 0
    """Measurements since then."""
    ended: bool = False
    """They were too many: there is no further step."""
    first: float | None = None
    """The loss of the run's first step."""

    @property
    def is_best(self) -> bool:
        """Whether no step before was as good."""
        return self.best == self.steps

    @property
    def measured(self) -> dict[str, float]:
        """For the result of a run that measured its validation split."""
        return {} if self.best is None else {"best_step": self.best, "best_value": self.best_value}

    def after(self, step: Step, all: Agreement) -> Progress:
        """How far it is when `step` is done."""
        return replace(
            self,
            steps=step.number + 1,
            samples=self.samples + step.stop - step.start,
            tokens=self.tokens + all.tokens,
            computed=self.computed + all.computed,
            first=all.loss if self.first is None else self.first,
        )


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that verified."""

    path: Path
    world: int
    progress: Progress


def place(folder: Path, steps: int) -> Path:
    """Where the checkpoint after `steps` steps goes."""
    return folder / f"step-{steps:08d}"


def part(folder: Path, steps: int, attempt: str) -> Path:
    """Where an attempt writes it until it is whole: what another attempt left there must not mix with it."""
    return folder / f"step-{steps:08d}.{attempt}.part"


def commit(path: Path, world: int, progress: Progress, key: str, files: dict[str, Entry] | None = None) -> None:
    """Make the directory that `part` gave a checkpoint. Call once, after every worker has written and synced its files.

    `files` are those whose digests are known. Raises Torn when one of them is not there, OSError.
    """
    seal(path, {"world": world, "progress": asdict(progress), "key": key}, files, beside=UNIVERSAL)
    target = place(path.parent, progress.steps)
    if target.exists():
        # It did not verify, or this attempt would not have come by here again.
        _remove(target)
    path.rename(target)
    sync(path.parent)


def newest(folder: Path, key: str, say: Callable[[str], None] = lambda line: None) -> Checkpoint | None:
    """The newest checkpoint of the run with this key that verifies; `say` gets a line for each newer one."""
    for path in _places(folder):
        try:
            return opened(path, key)
        except Torn as why:
            say(f"checkpoint {path.name} is passed over: {why}")
    return None


def opened(path: Path, key: str) -> Checkpoint:
    """The checkpoint in `path`. Raises Torn when it is not one, is not whole, or belongs to another run."""
    found = verify(path, beside=UNIVERSAL)
    if found["key"] != key:
        raise Torn("it belongs to another run")
    progress = Progress(**found["progress"])
    if place(path.parent, progress.steps) != path:
        raise Torn(f"its manifest is that of step {progress.steps}")
    return Checkpoint(path, found["world"], progress)


def set_aside(folder: Path, beyond: int, say: Callable[[str], None]) -> None:
    """Rename what has the name of a checkpoint after step `beyond`, the newest that verified; `say` gets a line.

    It would count as one of the newest, and older ones that are whole would give way to it. Nothing of it is lost until
    the run has passed its step.
    """
    names = []
    for path in _places(folder):
        if _steps(path) > beyond:
            aside = path.with_name(path.name + DAMAGED)
            shutil.rmtree(aside, ignore_errors=True)
            path.rename(aside)
            names.append(aside.name)
    if names:
        say(f"kept aside, until the run is past them: {', '.join(names)}")


def reached(folder: Path) -> int:
    """The step of the newest committed checkpoint, unread; 0 when there is none."""
    return max((_steps(path) for path in _places(folder) if (path / MANIFEST).is_file()), default=0)


def prune(folder: Path, keep: int, spare: Collection[Path] = ()) -> None:
    """Remove all but the newest `keep` checkpoints, and `spare`; and among them what older code left unfinished.

    What was set aside goes when there is a checkpoint of its step, or a later one. The manifest goes first: half a
    removal is no checkpoint.
    """
    committed = [path for path in _places(folder) if (path / MANIFEST).is_file()]
    for path in _places(folder):
        if committed and path < committed[0] and path not in committed[:keep] and path not in spare:
            _remove(path)
    for path in folder.glob(f"step-*{DAMAGED}"):
        if committed and path.with_suffix("") <= committed[0]:
            shutil.rmtree(path)


def sweep(folder: Path) -> None:
    """Remove what attempts that are over were writing. Call it before this one writes."""
    for path in folder.glob("step-*.part"):
        shutil.rmtree(path)


def account(run: Path) -> list[dict[str, Any]]:
    """The checkpoints of a run, newest first, each read and verified.

    Keys: path, steps, world (None when it cannot be read), bytes, age (seconds), ok, why (None when ok). A save that
    was given up after the newest of them is there as well: its path is None and its bytes are 0.
    """
    found = [_described(path, read_json(run / "run.json")["key"]) for path in _places(run / "checkpoints")]
    reached = max((one["steps"] for one in found if one["ok"]), default=0)
    for note in notes.all_of(run):
        if note.get("gave_up", 0) > reached:
            age = round(time.time() - note["time"], 1)
            lost = {"path": None, "steps": note["gave_up"], "world": None, "bytes": 0, "age": age}
            found.append(lost | {"ok": False, "why": note["text"]})
    return sorted(found, key=lambda one: -one["steps"])


def lines(accounts: list[dict[str, Any]]) -> list[str]:
    """What `account` found, for a person."""
    if not accounts:
        return ["no checkpoint yet"]
    return [
        f"step {one['steps']:>8}  {one['bytes'] / 1e6:>10.1f} MB  {one['age']:>7.0f} s old  "
        + (f"whole, of {one['world']} workers" if one["ok"] else f"NOT USABLE: {one['why']}")
        for one in accounts
    ]


def _described(path: Path, key: str) -> dict[str, Any]:
    why, world = None, None
    try:
        world = manifest(path)["world"]
        opened(path, key)
    except Torn as torn:
        why = str(torn)
    files = [file for file in path.rglob("*") if file.is_file()]
    age = time.time() - (path / MANIFEST if world else path).stat().st_mtime
    about = {"path": str(path), "steps": _steps(path), "world": world, "bytes": sum(f.stat().st_size for f in files)}
    return about | {"age": round(age, 1), "ok": why is None, "why": why}


def _places(folder: Path) -> list[Path]:
    """Everything that has a checkpoint's name, newest first."""
    return sorted((path for path in folder.glob("step-*") if NAME.fullmatch(path.name)), key=_steps, reverse=True)


def _steps(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def _remove(path: Path) -> None:
    (path / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(path)
