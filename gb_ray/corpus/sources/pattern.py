"""Patterns of paths: `*`, `?` and `[...]` within a name, `**` for any number of folders."""

from __future__ import annotations

import fnmatch
import re

_WILD = re.compile(r"[*?[]")


def cut(address: str) -> tuple[str, list[str]]:
    """(folder, pattern): the part before the first name with a wildcard, and the names from there on."""
    parts = address.split("/")
    first = next((i for i, part in enumerate(parts) if _WILD.search(part)), len(parts))
    folder = "/".join(parts[:first]) or ("/" if address.startswith("/") else ".")
    return folder, [part for part in parts[first:] if part]


def depth_of(pattern: list[str]) -> int | None:
    """How many names a path that fits has; None when that is open."""
    return None if "**" in pattern else len(pattern)


def fits(parts: list[str], pattern: list[str]) -> bool:
    """Whether the path of a file, relative to the pattern's folder, fits it; both are lists of names.

    At the end of a pattern `**` is all that is below. A name that begins with `.` or `_` is hidden: it fits only where
    the pattern begins with the same character.
    """
    if not pattern or not parts:
        return not parts and not pattern
    if pattern == ["**"]:
        return fits(parts, ["**", "*"])
    hidden = parts[0][0] in "._" and parts[0][0] != pattern[0][0]
    if pattern[0] == "**":
        return fits(parts, pattern[1:]) or (not hidden and fits(parts[1:], pattern))
    return not hidden and fnmatch.fnmatchcase(parts[0], pattern[0]) and fits(parts[1:], pattern[1:])
