"""What the cluster is about to do to a run's workers: the notice travels as a file in the run's directory."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from gb_ray.train.run import read_json, write_json

FILE = "notice.json"
SAVE_EVERY_S = 15.0
"""Between a notice and its deadline nobody knows which step will be the last."""


def give(run: Path, why: str, deadline: float | None = None) -> None:
    """Tell the workers of a run to save at their next step, and again until the deadline (seconds since 1970)."""
    write_json(run / FILE, {"why": why, "time": time.time(), "deadline": deadline})


def withdraw(run: Path) -> None:
    """It came true, or it did not: what it was about is over."""
    (run / FILE).unlink(missing_ok=True)


class Preemption:
    """One worker's view of the notices."""

    def __init__(self, run: Path):
        self._file = run / FILE
        self._known: int | None = None
        self._notice: dict[str, Any] = {}
        self._saved = 0.0

    def seen(self) -> bool:
        """Whether to save now. Costs a look at one file."""
        stamp = self._stamp()
        if stamp and stamp != self._known:
            self._known, self._notice, self._saved = stamp, read_json(self._file), time.time()
            return True
        deadline = self._notice.get("deadline") or 0.0
        if self._saved + SAVE_EVERY_S <= time.time() < deadline:
            self._saved = time.time()
            return True
        return False

    def _stamp(self) -> int | None:
        with suppress(FileNotFoundError):
            return self._file.stat().st_mtime_ns
        return None
