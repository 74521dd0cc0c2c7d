"""A second home for checkpoints: a folder or bucket that outlives the machine.

MIRROR/RUN/step-00000050/{state/..., manifest.json}: the manifest goes last, and what comes back is verified against it.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import fs

from gb_ray.corpus.sources import remote
from gb_ray.corpus.sources.remote import Unreachable
from gb_ray.section import UserError
from gb_ray.train.account import notes
from gb_ray.train.checkpoints import checkpoint
from gb_ray.train.checkpoints.sealed import MANIFEST, Torn, manifest
from gb_ray.train.job import Job

CHUNK = 8 << 20
LOOK_S = 1.0


class Mirror:
    """Copies checkpoints while training goes on; rank 0 has one.

    Older copies beyond `keep` are removed, but for the best step's.
    """

    def __init__(self, address: str, job: Job, keep: int):
        self._job, self._keep, self._address = job, keep, address
        self._changed = threading.Condition()
        self._waiting: list[Path] = []
        self._now: Path | None = None
        self._sent = 0
        """Chunks, of all copies."""
        self._thread: threading.Thread | None = None

    @property
    def copying(self) -> list[Path]:
        """What must stay until it is copied."""
        with self._changed:
            return [*([self._now] if self._now else []), *self._waiting]

    def copy(self, path: Path, best: Path | None = None) -> None:
        """Have a committed checkpoint copied, of which `best` is the best step's.

        One that waits gives way, if it is not the best: where the store is slow, some are left out.
        """
        with self._changed:
            self._waiting = [*(one for one in self._waiting if one == best), path]
            if not self._thread:
                self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)
                self._thread.start()

    def close(self, moved: Callable[[], None] = lambda: None) -> None:
        """Return when everything is copied, or was given up; `moved` is called now and then while bytes go out."""
        with self._changed:
            thread = self._thread
        while thread and thread.is_alive():
            sent = self._sent
            thread.join(LOOK_S)
            if self._sent != sent:
                moved()

    def _run(self) -> None:
        while path := self._take():
            try:
                store = Store.at(self._address, self._job.run.name)
                store.put(path, self._count)
                about = manifest(path)["progress"]
                store.prune(self._keep, about["steps"], about["best"])
            except (OSError, UserError, Unreachable, Torn, pa.ArrowException) as error:
                text = f"{path.name} was not copied to the mirror: {error}; training goes on, the next one is tried"
                notes.say(self._job.run, text)

    def _count(self) -> None:
        self._sent += 1

    def _take(self) -> Path | None:
        with self._changed:
            self._now = self._waiting.pop(0) if self._waiting else None
            if not self._now:
                self._thread = None
            return self._now


class Store:
    """The checkpoints of one run in a mirror."""

    def __init__(self, address: str, system: Any, base: str):
        self.address, self._system, self._base = address, system, base

    @classmethod
    def at(cls, address: str, run: str) -> Store:
        """That of the run with this name. Raises UserError, Unreachable."""
        if "://" not in address:
            return cls(address, fs.LocalFileSystem(), str(Path(address).expanduser().absolute() / run))
        store, path = remote.split(address)
        return cls(address.partition("?")[0], remote.connect(store), f"{path.rstrip('/')}/{run}")

    def put(self, path: Path, sent: Callable[[], None] = lambda: None) -> None:
        """Copy a checkpoint; its manifest last. `sent` is called after each chunk.

        Raises OSError, Unreachable, UserError, or Torn if it is none.
        """
        for name in [*manifest(path)["files"], MANIFEST]:
            self._send(path / name, f"{self._base}/{path.name}/{name}", sent)

    def steps(self) -> list[int]:
        """Of the committed checkpoints there, newest first. Raises Unreachable, UserError."""
        select = fs.FileSelector(self._base, allow_not_found=True, recursive=True)
        found = remote.persist(self.address, lambda: self._system.get_file_info(select))
        names = [info.path.removeprefix(f"{self._base}/").split("/") for info in found]
        committed = [name[0] for name in names if len(name) == 2 and name[1] == MANIFEST]
        return sorted((int(m[1]) for name in committed if (m := checkpoint.NAME.fullmatch(name))), reverse=True)

    def get(self, steps: int, folder: Path, key: str) -> None:
        """Bring a checkpoint into `folder`. Raises Torn when it is not whole or another run's, Unreachable, OSError."""
        target = checkpoint.place(folder, steps)
        part = checkpoint.part(folder, steps, "mirror")
        shutil.rmtree(part, ignore_errors=True)
        self._fetch(f"{target.name}/{MANIFEST}", part / MANIFEST)
        for name in manifest(part)["files"]:
            self._fetch(f"{target.name}/{name}", part / name)
        # Its name is a part of what is verified.
        whole = part / target.name
        whole.mkdir()
        for each in part.iterdir():
            if each != whole:
                each.rename(whole / each.name)
        checkpoint.opened(whole, key)
        shutil.rmtree(target, ignore_errors=True)
        whole.rename(target)
        part.rmdir()

    def prune(self, keep: int, until: int, spare: int | None = None) -> None:
        """Remove all but the newest `keep` up to step `until` and that of step `spare`; each one's manifest first.

        A later one is damaged, or the run would have gone on from it: others do not give way to it.
        """
        for steps in [steps for steps in self.steps() if steps <= until][keep:]:
            if steps == spare:
                continue
            path = f"{self._base}/{checkpoint.place(Path(), steps).name}"
            self._system.delete_file(f"{path}/{MANIFEST}")
            self._system.delete_dir(path)

    def _send(self, file: Path, to: str, sent: Callable[[], None]) -> None:
        def once() -> None:
            if isinstance(self._system, fs.LocalFileSystem):
                Path(to).parent.mkdir(parents=True, exist_ok=True)
            with file.open("rb") as source, self._system.open_output_stream(to) as target:
                while chunk := source.read(CHUNK):
                    target.write(chunk)
                    sent()

        remote.persist(f"{self.address}: {file.name}", once)

    def _fetch(self, name: str, to: Path) -> None:
        def once() -> None:
            with self._system.open_input_stream(f"{self._base}/{name}") as source, to.open("wb") as target:
                while chunk := source.read(CHUNK):
                    target.write(chunk)

        to.parent.mkdir(parents=True, exist_ok=True)
        remote.persist(f"{self.address}: {name}", once)


def fetch(address: str, run: Path, key: str, after: int, say: Callable[[str], None]) -> None:
    """Bring the newest checkpoint that is whole and newer than step `after` (if there is one) from the mirror.

    `say` gets a line for each that is passed over, and, where the run can go on from step `after`, for a mirror that
    does not answer. Raises Unreachable or UserError when it does not and there is nothing to go on from.
    """
    try:
        store = Store.at(address, run.name)
        for steps in [steps for steps in store.steps() if steps > after]:
            try:
                store.get(steps, run / "checkpoints", key)
            except (Torn, Unreachable) as why:
                say(f"the mirror's checkpoint of step {steps} is passed over: {why}")
            else:
                say(f"the checkpoint of step {steps} was fetched from the mirror {store.address}")
                return
    except (Unreachable, UserError, OSError) as error:
        if not after:
            raise
        say(f"the mirror was not asked for newer checkpoints: {error}")


def fetch_step(address: str, run: Path, key: str, steps: int, say: Callable[[str], None]) -> None:
    """Bring the checkpoint of a step from the mirror; `say` gets a line where that cannot be done."""
    try:
        Store.at(address, run.name).get(steps, run / "checkpoints", key)
    except (Torn, Unreachable, UserError, OSError) as why:
        say(f"the best checkpoint, of step {steps}, was not fetched from the mirror: {why}")
