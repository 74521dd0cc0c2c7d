"""First stage of a build: every row of every source, cleaned or with the reason why it is left out."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray.data

from gb_ray.corpus.encoder import Encoder, Reject
from gb_ray.corpus.manifest import SourceEntry
from gb_ray.corpus.source import OpenSource
from gb_ray.progress import Stage

BATCH_ROWS = 1024
FILTERED = "\x00filtered"
"""The reason of rows that the recipe's `where` leaves out: counted, not quarantined."""


def schema(encoder: Encoder) -> pa.Schema:
    """Of a row between reading and tokenising. `reason` is null when the row is usable."""
    places = [("id", pa.string()), ("source", pa.int32()), ("row", pa.int64()), ("split", pa.string())]
    outcome = [("reason", pa.string()), ("excerpt", pa.string())]
    return pa.schema([*places, *outcome, *encoder.fields])


def read(sources: list[OpenSource], encoder: Encoder, stage: Stage) -> tuple[Any, list[SourceEntry]]:
    """All rows as a materialised `ray.data.Dataset`, and the tally of each source. One task reads one source."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True

    def read_source(batch: dict[str, Any]) -> Iterator[pa.Table]:
        for index in batch["item"]:
            yield from _tables(sources[int(index)], int(index), encoder)

    items = ray.data.from_items(list(range(len(sources))), override_num_blocks=len(sources))
    rows = items.map_batches(read_source, batch_size=1).materialize()
    counts: Counter[tuple[int, str]] = Counter()
    for batch in rows.iter_batches(batch_format="pyarrow", batch_size=None):
        for index, reason in zip(batch["source"].to_pylist(), batch["reason"].to_pylist(), strict=True):
            counts[index, "kept" if reason is None else "filtered" if reason == FILTERED else "quarantined"] += 1
        stage.to(counts.total())
    return rows, [_tally(source, index, counts) for index, source in enumerate(sources)]


def quarantine(rows: Any, tallies: list[SourceEntry], folder: Path) -> Counter[str]:
    """Write the rows left out to `folder/rows.jsonl` with source, row, reason and excerpt; count the reasons."""
    reasons: Counter[str] = Counter()
    folder.mkdir()
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as file:
        for batch in rows.iter_batches(batch_format="pyarrow", batch_size=None):
            for row in batch.select(["source", "row", "reason", "excerpt"]).to_pylist():
                if row["reason"] not in (None, FILTERED):
                    reasons[row["reason"]] += 1
                    file.write(json.dumps(row | {"source": tallies[row["source"]].uri}, ensure_ascii=False) + "\n")
    return reasons


def _tally(source: OpenSource, index: int, counts: Counter[tuple[int, str]]) -> SourceEntry:
    found = {what: counts[index, what] for what in ("filtered", "quarantined", "kept")}
    return SourceEntry(uri=source.section.uri, sha256=source.sha256, read=sum(found.values()), **found)


def _tables(source: OpenSource, index: int, encoder: Encoder) -> Iterator[pa.Table]:
    rows: list[dict[str, Any]] = []
    for number, row in source.rows():
        place = {"source": index, "row": number, "split": source.section.split}
        rows.append(place | _outcome(row, source, encoder))
        if len(rows) == BATCH_ROWS:
            yield pa.Table.from_pylist(rows, schema(encoder))
            rows = []
    yield pa.Table.from_pylist(rows, schema(encoder))


def _outcome(row: dict[str, Any] | Reject, source: OpenSource, encoder: Encoder) -> dict[str, Any]:
    if isinstance(row, Reject):
        return {"reason": str(row)}
    if not source.wanted(row):
        return {"reason": FILTERED}
    missing = [column for column in encoder.columns if column not in row]
    if missing:
        return {"reason": f"no key {missing[0]!r}", "excerpt": _excerpt(row)}
    try:
        fields = encoder.clean(row)
    except Reject as reject:
        return {"reason": str(reject), "excerpt": _excerpt(row)}
    identity = hashlib.blake2b(encoder.identity(fields).encode(), digest_size=16).hexdigest()
    return {"id": identity, **fields}


def _excerpt(row: dict[str, Any]) -> str:
    try:
        return json.dumps(row, default=repr)[:200]
    except RecursionError:
        return ""
