"""What rank 0 writes down while it trains: metrics of each step, and where an attempt's seconds went."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

FLUSH_EVERY_S = 0.1
"""What an attempt that is killed may leave out of its account."""
LONGEST_LINE = 1024


class Journal:
    """Appends one line a step to metrics.jsonl; nobody who reads it can hold training up."""

    def __init__(self, path: Path):
        torn = path.is_file() and not path.read_bytes().endswith(b"\n")
        self._file = path.open("a", encoding="utf-8")
        if torn:
            # An attempt was killed while it wrote: its half line must not swallow the next one.
            self._file.write("\n")

    def write(self, step: int, metrics: dict[str, float]) -> None:
        """The metrics of a step, out of this process at once."""
        self._file.write(json.dumps({"step": step, "time": time.time(), "metrics": metrics}) + "\n")
        self._file.flush()


def newest(path: Path, count: int) -> list[dict[str, Any]]:
    """The last entries of a journal, at most `count`, oldest first; a line that was cut short is none."""
    if not path.is_file():
        return []
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - count * LONGEST_LINE))
        lines = file.read().split(b"\n")[:-1]
    found = []
    for line in lines[-count:]:
        with suppress(ValueError):
            found.append(dict(json.loads(line)))
    return found


def losses(path: Path, before: int, count: int) -> list[float]:
    """Of the last steps before step `before`, at most `count`, oldest first; of one that was taken again, the last.

    Read from the end, for what an attempt did beyond its checkpoint stands between them and there.
    """
    read = -1
    for look in (count * 2**more for more in itertools.count(1)):
        entries = newest(path, look)
        found = {entry["step"]: float(entry["metrics"]["loss"]) for entry in entries if entry["step"] < before}
        if len(found) >= count or len(entries) == read:
            break
        read = len(entries)
    return [found[step] for step in sorted(found)[-count:]]


class Attempt:
    """One start of the workers: its steps, and its seconds by category, of which none is missing.

    Seconds before the first block count as `start`, those between blocks as `other`.
    """

    def __init__(self, folder: Path):
        folder.mkdir(exist_ok=True)
        self.number = 1 + len(list(folder.glob("*.json")))
        self._path = folder / f"{self.number:04d}.json"
        self._began, self._category, self._mark = time.time(), "start", time.perf_counter()
        self.seconds: dict[str, float] = {}
        self.gpu: str | None = None
        """What rank 0's calls itself; None while it has none."""
        self._first: int | None = None
        self._last: int | None = None
        self._written = 0.0
        # Written now, so that an attempt that dies before its first step is counted too.
        self.write()

    @contextmanager
    def spends(self, category: str) -> Iterator[None]:
        """Count the seconds of a block."""
        self._now(category)
        try:
            yield
        finally:
            self._now("other")

    def at(self, step: int) -> None:
        """The attempt has finished `step`; its account reaches the disk ten times a second."""
        self._first = step if self._first is None else self._first
        self._last = step
        if time.monotonic() - self._written > FLUSH_EVERY_S:
            self.write()

    def write(self, ended: bool = False) -> None:
        """The account as it is now."""
        self._now(self._category)
        replace(
            self._path,
            {
                "began": self._began,
                "first": self._first,
                "last": self._last,
                "seconds": self.seconds,
                "gpu": self.gpu,
                "ended": ended,
            },
        )
        self._written = time.monotonic()

    def _now(self, category: str) -> None:
        now = time.perf_counter()
        self.seconds[self._category] = self.seconds.get(self._category, 0.0) + now - self._mark
        self._category, self._mark = category, now


def replace(path: Path, content: dict[str, Any]) -> None:
    """Replace a JSON file whole or not at all; without waiting for the disk, for it comes ten times a second."""
    beside = path.with_name(f"{path.name}.part")
    beside.write_text(json.dumps(content), encoding="utf-8")
    beside.rename(path)
