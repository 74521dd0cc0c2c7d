"""What a person sees while a job runs: a bar with rate and time left on a terminal, plain lines elsewhere.

Everything goes to standard error; standard output belongs to results.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

PLAIN_EVERY_S = 5.0


class Stage:
    """One stage's progress: `to(done)` moves it, `note` says what the last item showed."""

    def __init__(self, name: str, total: int | None, unit: str, bars: Bars | None, out: Console):
        self.name, self.total, self.unit, self._bars, self._out = name, total, unit, bars, out
        self._started = self._said = time.monotonic()
        self._first = 0
        self._task = bars.add_task(name, total=total, note="") if bars else None

    def to(self, done: int, note: str = "", total: int | None = None) -> None:
        """`done` units are finished; the first call of a resumed job sets where the rate counts from."""
        if total is not None and self.total is None:
            self.total, self._first = total, done
            self._started = time.monotonic()
        text = " ".join(part for part in (self._pace(done), note) if part)
        if self._bars and self._task is not None:
            self._bars.update(self._task, completed=done, total=self.total, note=text)
        elif time.monotonic() - self._said >= PLAIN_EVERY_S or done == self.total:
            self._said = time.monotonic()
            of = f"/{self.total}" if self.total else ""
            self._out.print(f"{self.name}: {done}{of} {self.unit} {text}".rstrip(), highlight=False, soft_wrap=True)

    def _pace(self, done: int) -> str:
        passed = time.monotonic() - self._started
        if done <= self._first or passed <= 0:
            return ""
        rate = (done - self._first) / passed
        left = f", {(self.total - done) / rate:.0f} s left" if self.total and done < self.total else ""
        return f"{rate:.3g} {self.unit}/s{left}"


class Progress:
    """The stages of one command, and the seconds each took (`seconds`)."""

    def __init__(self) -> None:
        self.out = Console(stderr=True)
        self.seconds: dict[str, float] = {}

    def say(self, text: str) -> None:
        """One line for the person who watches."""
        self.out.print(text, highlight=False, soft_wrap=True, markup=False)

    @contextmanager
    def stage(self, name: str, total: int | None = None, unit: str = "") -> Iterator[Stage]:
        """Time a stage and show its progress. A stage entered twice adds up."""
        started = time.monotonic()
        bars = self._bars() if self.out.is_terminal else None
        try:
            if bars:
                bars.start()
            else:
                self.say(f"{name} ...")
            yield Stage(name, total, unit, bars, self.out)
        finally:
            if bars:
                bars.stop()
            self.seconds[name] = round(self.seconds.get(name, 0) + time.monotonic() - started, 2)

    def _bars(self) -> Bars:
        columns = (
            TextColumn("{task.description:>10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
        )
        return Bars(*columns, console=self.out)


def fail(text: str) -> None:
    """Say what went wrong, on standard error."""
    print(text, file=sys.stderr, flush=True)
