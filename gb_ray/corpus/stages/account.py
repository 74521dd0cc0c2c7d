"""Where the rows went: what the stages counted, added up as the manifest says it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gb_ray.corpus.manifest import Funnel, SourceEntry, SplitEntry
from gb_ray.corpus.near import near
from gb_ray.corpus.sources.source import OpenSource
from gb_ray.corpus.stages.stage import Result

COUNTED = ("read", "filtered", "quarantined", "dropped", "kept")


def sources(opened: list[OpenSource], numbers: list[int], found: list[Result]) -> list[SourceEntry]:
    """The tally of each source; `numbers[i]` is the source that result i is of."""
    entries = []
    for number, source in enumerate(opened):
        mine = [result for where, result in zip(numbers, found, strict=True) if where == number]
        counts = {what: sum(result[what] for result in mine) for what in COUNTED}
        section = source.section
        said = {"uri": section.uri, "licence": section.licence, "language": section.language}
        entries.append(SourceEntry(**said, weight=section.weight, files=source.listed(), **counts))
    return entries


def too_many(entries: list[SourceEntry], found: list[Result], limit: float) -> str | None:
    """What to tell when a larger share than `limit` was quarantined."""
    candidates = sum(entry.read - entry.filtered for entry in entries)
    share = sum(entry.quarantined for entry in entries) / max(1, candidates)
    if share <= limit:
        return None
    worst = ", ".join(f"{count} x {reason}" for reason, count in added(found, "reasons").most_common(3))
    return f"{share:.1%} of {candidates} rows were quarantined ({worst}); corpus.max_quarantine allows {limit:.1%}"


def for_one(files: list[Path]) -> str:
    """Of files of rows left out the first one that was quarantined, in words."""
    lines = (json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines())
    first = next(line for line in lines if line["step"] == "quarantined")
    return f"row {first['row']} of {first['file']} for one: {first['excerpt']}"


def funnel(
    entries: list[SourceEntry],
    found: list[Result],
    unique: Counter[str],
    removed: list[NDArray[np.int8]] | None,
    splits: dict[str, SplitEntry],
) -> Funnel:
    """All steps. Raises RuntimeError when a row is not accounted for."""
    gone = np.bincount(np.concatenate(removed), minlength=3) if removed else np.zeros(3, int)
    total = Funnel(
        read=sum(entry.read for entry in entries),
        filtered=sum(entry.filtered for entry in entries),
        quarantined=sum(entry.quarantined for entry in entries),
        dropped=sum(entry.dropped for entry in entries),
        reasons=dict(sorted(added(found, "reasons").items())),
        repaired=sum(result["repaired"] for result in found),
        masked=dict(sorted(added(found, "masked").items())),
        duplicates=unique["duplicates"],
        conflicting=unique["conflicting"],
        near_duplicates=int(gone[near.NEAR_DUPLICATE]),
        leaks=int(gone[near.LEAK]),
        samples=sum(entry.samples for entry in splits.values()),
    )
    if not total.adds_up():
        raise RuntimeError(f"rows are not accounted for: {total}")
    return total


def added(found: list[Result], what: str) -> Counter[str]:
    """The sum of what all results counted under `what`."""
    total = Counter[str]()
    for result in found:
        total += Counter(result[what])
    return total
