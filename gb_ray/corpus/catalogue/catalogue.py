"""The corpora of a home, and what else is in the folder where they are built."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gb_ray.corpus.catalogue.figures import WIDTH, columns, cut, size
from gb_ray.corpus.corpus import Corpus
from gb_ray.corpus.manifest import NAME
from gb_ray.section import UserError

_NOT_CORPORA = {
    ".building": ("unfinished", "a build that runs, or was stopped: the same gb corpus build goes on from there"),
    ".failed": ("failed", "refused by its build; the rows left out are in left-out"),
    ".parts": ("parts", "what was read of each source, for the next build; may be removed"),
}
Entry = dict[str, Any]


def entries(home: Path) -> list[Entry]:
    """One entry for each directory in `home/corpora`, by name, whatever it is.

    `state` is corpus, unfinished, failed, parts, or broken: then `why` says why it does not open. A corpus also has
    digest, splits (samples), tokens, sources and built (when, ISO 8601). `bytes` is its size on disk.
    """
    folders = sorted(path for path in (home / "corpora").glob("*") if path.is_dir())
    return [_entry(folder) for folder in folders]


def _entry(folder: Path) -> Entry:
    common = {"name": folder.name, "path": str(folder)}
    if folder.suffix in _NOT_CORPORA:
        state, why = _NOT_CORPORA[folder.suffix]
        return {**common, "state": state, "why": why, "bytes": _size(folder)}
    try:
        manifest = Corpus.open(folder).manifest
    except UserError as error:
        return {**common, "state": "broken", "why": str(error), "bytes": _size(folder)}
    built = datetime.fromtimestamp((folder / NAME).stat().st_mtime, UTC)
    return {
        **common,
        "state": "corpus",
        "digest": manifest.digest,
        "splits": {name: split.samples for name, split in manifest.splits.items()},
        "tokens": sum(split.tokens for split in manifest.splits.values()),
        "bytes": _size(folder),
        "sources": [source.uri for source in manifest.sources],
        "built": built.isoformat(timespec="seconds"),
    }


def _size(folder: Path) -> int:
    """Bytes of all files below it; a build may remove some while they are counted."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total


def lines(home: Path, found: list[Entry]) -> list[str]:
    """The entries for a person, within 100 columns."""
    if not found:
        return [f"no corpus in {home / 'corpora'}; build one with: gb corpus build RECIPE"]
    corpora = [entry for entry in found if entry["state"] == "corpus"]
    said = []
    if corpora:
        table = columns([["corpus", *corpora[0]["splits"], "tokens", "on disk", "built (UTC)"], *map(_row, corpora)])
        said.append(table[0])
        for entry, row in zip(corpora, table[1:], strict=True):
            said += [row, "  " + cut(f"digest {entry['digest'][:12]} from {_named(entry['sources'])}", WIDTH - 2)]
    for entry in found:
        if entry["state"] != "corpus":
            said.append(cut(f"{entry['name']}: {entry['state']}, {size(entry['bytes'])}", WIDTH))
            said.append(f"  {entry['why']}")
    return said


def _row(entry: Entry) -> list[str]:
    samples = [f"{count:,}" for count in entry["splits"].values()]
    when = entry["built"][:16].replace("T", " ")
    return [cut(entry["name"], 40), *samples, f"{entry['tokens']:,}", size(entry["bytes"]), when]


def _named(sources: list[str]) -> str:
    uris = list(dict.fromkeys(sources))
    return ", ".join(uris[:3]) + (f" and {len(uris) - 3:,} more" if len(uris) > 3 else "")
