"""Folders that are whole or nothing: a manifest, written last, names every file with its size and sha256."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

from gb_ray.files import sha256, sync
from gb_ray.train.run import read_json, write_json

MANIFEST = "manifest.json"
READERS = 8
"""Files hashed at once."""
Entry = tuple[int, str]
"""Of a file: its bytes, and the sha256 of them (hex)."""


class Torn(Exception):
    """A folder is not what was sealed; the text says in what."""


def seal(folder: Path, about: dict[str, Any], files: dict[str, Entry] | None = None, beside: str | None = None) -> None:
    """Write the manifest of what is in the folder, durably; the folder is whole from then on.

    `about` is kept in it. `files` are digests the caller knows, by path in the folder: other files are read, and one
    that is not there with that size raises Torn. The subfolder `beside` is no part of it, nor `beside.*`.
    """
    known = files or {}
    found = {name: known.get(name) or _entry(folder / name) for name in _names(folder, beside)}
    for name, entry in known.items():
        if name not in found:
            raise Torn(f"{name} is not there: do all workers write into the same folder {folder}?")
        if (size := (folder / name).stat().st_size) != entry[0]:
            raise Torn(f"{name} has {size} bytes, {entry[0]} were written")
    content = about | {"files": {name: list(entry) for name, entry in found.items()}}
    for each in {folder, *(file.parent for file in map(folder.joinpath, found))}:
        sync(each)
    write_json(folder / MANIFEST, content | {"sha256": _digest(content)})
    sync(folder)


def manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a sealed folder, itself verified; files are not. Raises Torn."""
    if not (folder / MANIFEST).is_file():
        raise Torn("it has no manifest: its writing was cut short")
    try:
        content = read_json(folder / MANIFEST)
        digest = content.pop("sha256")
        inside = all(_is_inside(name) and isinstance(entry, list) for name, entry in content["files"].items())
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Torn(f"{MANIFEST} is damaged") from None
    if digest != _digest(content) or not inside:
        raise Torn(f"{MANIFEST} is damaged")
    return content


def verify(folder: Path, beside: str | None = None) -> dict[str, Any]:
    """The manifest of a folder of which every file is as it was when it was sealed. Raises Torn."""
    content = manifest(folder)
    sizes = {name: entry[0] for name, entry in content["files"].items()}
    present = set(_names(folder, beside))
    for name in sorted(sizes.keys() | present):
        if name not in present:
            raise Torn(f"{name} is missing")
        if name not in sizes:
            raise Torn(f"{name} is in it, but not in its manifest")
        if (size := (folder / name).stat().st_size) != sizes[name]:
            raise Torn(f"{name} has {size} bytes, its manifest says {sizes[name]}")
    with ThreadPoolExecutor(READERS) as pool:
        for name, digest in zip(sizes, pool.map(sha256, [folder / name for name in sizes]), strict=True):
            if digest != content["files"][name][1]:
                raise Torn(f"{name} is damaged: it does not have the sha256 of its manifest")
    return content


def _names(folder: Path, beside: str | None) -> Iterator[str]:
    """Of all files, and of what is neither file nor folder: that is no part of anything that was sealed."""
    for path in sorted(folder.rglob("*")):
        inner = path.relative_to(folder)
        if inner.parts[0].partition(".")[0] != beside and str(inner) != MANIFEST and not path.is_dir():
            yield inner.as_posix()


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def _entry(file: Path) -> Entry:
    return file.stat().st_size, sha256(file)


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
