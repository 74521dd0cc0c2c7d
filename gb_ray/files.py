"""Files that nobody ever sees half written, and what tells one from another."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_new(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Make `path` with `content`, whole or not at all.

    Of several writers exactly one wins: the others get FileExistsError.
    """
    temporary = _write_beside(path, content, mode)
    try:
        os.link(temporary, path)
    finally:
        temporary.unlink()
    sync(path.parent)


def write_over(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Replace what `path` holds, or make it: a reader sees the old content or the new, never a mixture."""
    temporary = _write_beside(path, content, mode)
    temporary.replace(path)
    sync(path.parent)


def link(source: Path, target: Path) -> None:
    """Give a file that is never written to again a second name, or where that cannot be, a copy."""
    try:
        os.link(source, target)
    except OSError:
        # Another file system, or one without links.
        shutil.copy2(source, target)


def sync(folder: Path) -> None:
    """What was created, renamed or removed in the folder survives a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def alone(file: Path) -> Iterator[None]:
    """Wait until no other process holds `file`; it is let go with this one, however it ends."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def sha256(path: Path) -> str:
    """The digest of a file's content (hex)."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_beside(path: Path, content: bytes, mode: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".new-", dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    return Path(name)
