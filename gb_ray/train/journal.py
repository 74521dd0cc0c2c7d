"""What rank 0 writes down while it trains: metrics of each step, and where an attempt's seconds went."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gb_ray.train.run import read_json, write_json

CATEGORIES = ("start", "data", "compute", "checkpoint", "export", "lost")
FLUSH_EVERY_S = 1.0


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


class Attempt:
    """One start of the workers: its steps, and its seconds by category."""

    def __init__(self, folder: Path, started: float):
        folder.mkdir(exist_ok=True)
        self._path = folder / f"{1 + len(list(folder.glob('*.json'))):04d}.json"
        self._seconds: dict[str, float] = {"start": time.time() - started}
        self._first: int | None = None
        self._last = 0
        self._written = 0.0

    @contextmanager
    def spends(self, category: str) -> Iterator[None]:
        """Count the seconds of a block."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[category] = self._seconds.get(category, 0.0) + time.perf_counter() - began

    def at(self, step: int) -> None:
        """The attempt has finished `step`; its account reaches the disk about once a second."""
        self._first = step if self._first is None else self._first
        self._last = step
        if time.monotonic() - self._written > FLUSH_EVERY_S:
            self.write()

    def write(self) -> None:
        """The account as it is now."""
        write_json(self._path, {"first": self._first, "last": self._last, "seconds": self._seconds})
        self._written = time.monotonic()


def goodput(folder: Path) -> dict[str, float]:
    """Seconds of all attempts by category. Work that a later attempt did again counts as `lost`."""
    attempts = [read_json(path) for path in sorted(folder.glob("*.json"))]
    total: dict[str, float] = dict.fromkeys(CATEGORIES, 0.0)
    for number, attempt in enumerate(attempts):
        seconds: dict[str, Any] = attempt["seconds"]
        again = _again(attempt, attempts[number + 1 :])
        for category, spent in seconds.items():
            lost = spent * again if category in ("data", "compute") else 0.0
            total[category] += spent - lost
            total["lost"] += lost
    return {category: round(spent, 2) for category, spent in total.items()}


def _again(attempt: dict[str, Any], later: list[dict[str, Any]]) -> float:
    """The share of an attempt's steps that count no more, because a later attempt started before them."""
    end = attempt["last"] + 1
    restart = min((other["first"] for other in later), default=end)
    return float(max(0, end - max(restart, attempt["first"])) / (end - attempt["first"]))
