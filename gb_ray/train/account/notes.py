"""Lines for the person who watches a run, from workers whose output goes elsewhere."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

FILE = "notes.jsonl"


def say(run: Path, text: str, **about: Any) -> None:
    """Leave one line for the driver of the run, and in the worker's own log as well."""
    print(text, file=sys.stderr, flush=True)
    leave(run, text, **about)


def leave(run: Path, text: str, **about: Any) -> None:
    """Leave one line for the driver of the run, which shows it; `about` is for programs.

    A disk on which not even a line can be written stops nobody.
    """
    line = json.dumps({"time": time.time(), "text": text} | about, ensure_ascii=False) + "\n"
    with suppress(OSError):
        handle = os.open(run / FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, line.encode())
        finally:
            os.close(handle)


def all_of(run: Path) -> list[dict[str, Any]]:
    """Every whole note of a run, oldest first: `time` (seconds since 1970), `text`, and what else `say` was told."""
    return Notes(run, first=0).new()


class Notes:
    """The notes of a run that nobody has seen yet: those after byte `first`, by default those still to come."""

    def __init__(self, run: Path, first: int | None = None):
        self._file = run / FILE
        self._read = (self._file.stat().st_size if self._file.is_file() else 0) if first is None else first

    def new(self) -> list[dict[str, Any]]:
        """Those since the last call."""
        if not self._file.is_file():
            return []
        with self._file.open("rb") as file:
            file.seek(self._read)
            whole = file.read().rpartition(b"\n")[0]
        self._read += len(whole) + 1 if whole else 0
        found = []
        for line in whole.split(b"\n"):
            with suppress(ValueError):  # cut short by a full disk
                found.append(dict(json.loads(line)))
        return found
