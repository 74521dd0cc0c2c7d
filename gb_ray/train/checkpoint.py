"""Checkpoints under a commit protocol.

A directory is a checkpoint if and only if its manifest.json is there and every file matches it. The manifest is written
last and renamed into place, so a save that was cut short leaves nothing that passes for one. Loading walks from the
newest to the oldest until one verifies, and nothing is unpickled before it verifies.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gb_ray.corpus.location import sha256
from gb_ray.train.run import read_json, write_json

if TYPE_CHECKING:
    from gb_ray.train.agreement import Agreement
    from gb_ray.train.schedule import Step

MANIFEST = "manifest.json"
STATE = "state"
"""The folder inside a checkpoint that DeepSpeed writes and reads."""


@dataclass(frozen=True)
class Progress:
    """How far a run is: all of it that is not weights and optimizer state."""

    steps: int
    samples: int
    tokens: int
    computed: int
    """Tokens with padding."""

    def after(self, step: Step, all: Agreement) -> Progress:
        """How far it is when `step` is done."""
        return Progress(
            steps=step.number + 1,
            samples=self.samples + step.stop - step.start,
            tokens=self.tokens + all.tokens,
            computed=self.computed + all.computed,
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


def commit(path: Path, world: int, progress: Progress, key: str) -> None:
    """Make the directory a checkpoint. Call once, after every worker has written its files."""
    files = {str(file.relative_to(path)): _entry(file) for file in sorted(path.rglob("*")) if file.is_file()}
    write_json(path / MANIFEST, {"world": world, "progress": asdict(progress), "key": key, "files": files})


def newest(folder: Path, key: str) -> Checkpoint | None:
    """The newest checkpoint of the run with this key that verifies."""
    for path in sorted(folder.glob("step-*"), reverse=True):
        if found := verified(path, key):
            return found
    return None


def verified(path: Path, key: str) -> Checkpoint | None:
    """The checkpoint in `path`, or None when it is not one, is not whole, or belongs to another run."""
    if not (path / MANIFEST).is_file():
        return None
    try:
        manifest = read_json(path / MANIFEST)
        if manifest["key"] != key:
            return None
        whole = all(
            (path / name).is_file() and _entry(path / name) == entry for name, entry in manifest["files"].items()
        )
        return Checkpoint(path, manifest["world"], Progress(**manifest["progress"])) if whole else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def prune(folder: Path, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints, and what saves that were cut short left before the newest.

    The manifest goes first: half a removal is no checkpoint.
    """
    committed = sorted((path.parent for path in folder.glob(f"step-*/{MANIFEST}")), reverse=True)
    for path in sorted(folder.glob("step-*")):
        if path in committed[:keep] or not committed or path > committed[0]:
            continue
        (path / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(path)


def _entry(file: Path) -> list[int | str]:
    return [file.stat().st_size, sha256(file)]
