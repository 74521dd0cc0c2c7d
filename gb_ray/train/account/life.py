"""The driver's side of a run's account: when it was there, and what it did meanwhile."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gb_ray.train.account.journal import replace
from gb_ray.train.account.power import Meter

FOLDER = "lives"
TICK_S = 1.0


class Life:
    """One driver of a run: lives/0001.json and so on. A thread says once a second that it is still there."""

    def __init__(self, run: Path, began: float | None = None):
        """`began`: seconds since 1970, where the driver was at work before there was a run to say it in."""
        folder = run / FOLDER
        folder.mkdir(exist_ok=True)
        self._path = folder / f"{1 + len(list(folder.glob('*.json'))):04d}.json"
        self._began, self._meter = began or time.time(), Meter()
        self._phases: list[list[Any]] = []
        self._ended: str | None = None
        self._lock, self._closing = threading.Lock(), threading.Event()
        self._write()
        self._ticker = threading.Thread(target=self._tick, name="life", daemon=True)
        self._ticker.start()

    @contextmanager
    def spends(self, phase: str) -> Iterator[None]:
        """Note when a block began and ended."""
        with self._lock:
            self._phases.append([phase, time.time(), None])
        self._write()
        try:
            yield
        finally:
            with self._lock:
                self._phases[-1][2] = time.time()
            self._write()

    def close(self, how: str) -> None:
        """The driver ends here: `finished`, `stopped` or `failed`."""
        self._closing.set()
        self._ticker.join()
        self._ended = how
        self._write()

    def _tick(self) -> None:
        while not self._closing.wait(TICK_S):
            self._write()

    def _write(self) -> None:
        with self._lock:
            replace(
                self._path,
                {
                    "pid": os.getpid(),
                    "host": socket.gethostname(),
                    "began": self._began,
                    "seen": time.time(),
                    "phases": self._phases,
                    "ended": self._ended,
                    "joules": self._meter.joules(),
                },
            )
