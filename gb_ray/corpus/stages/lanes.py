"""Last stage of a build: samples in global order are dealt to lanes and written as shards.

Sample g of a stratum goes to lane g % C, row g // C. The s-th shards of all lanes hold the samples
[s * C * R, (s + 1) * C * R): a task takes that slice, deals it to some of the lanes, and writes their files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gb_ray.corpus.manifest import Shard, SplitEntry, Stratum
from gb_ray.corpus.section import CorpusSection
from gb_ray.corpus.stages import tables
from gb_ray.corpus.stages.stage import Result
from gb_ray.files import sha256

TASK_ROWS = 1 << 18
"""Samples that a task deals at once, at the most; it holds them in memory."""
Piece = tuple[Path, int, int]
"""Rows [start, stop) of a file of samples."""


@dataclass(frozen=True)
class Dealing:
    """Shards number `number` of lanes [low, high) of a stratum; `pieces` are all samples of that slice of it."""

    split: str
    stratum: int
    number: int
    low: int
    high: int
    lanes: int
    labelled: bool
    pieces: list[Piece]
    out: Path

    @property
    def name(self) -> str:
        """See stage.Item."""
        return f"{self.split}-{self.stratum}-{self.number:05d}-{self.low:05d}"


def dealings(
    split: str, stratum: int, pieces: list[Piece], section: CorpusSection, labelled: bool, out: Path
) -> Iterator[Dealing]:
    """All tasks that write a stratum, whose samples in global order are `pieces`."""
    size = section.lanes * section.shard_rows
    together = max(1, min(section.lanes, TASK_ROWS // section.shard_rows))
    samples = sum(stop - start for _, start, stop in pieces)
    for number, first in enumerate(range(0, samples, size)):
        mine = list(_part_of(pieces, first, min(samples, first + size)))
        for low in range(0, min(section.lanes, samples - first), together):
            high = min(section.lanes, low + together)
            yield Dealing(split, stratum, number, low, high, section.lanes, labelled, mine, out)


def _part_of(pieces: list[Piece], start: int, stop: int) -> Iterator[Piece]:
    """What of `pieces` makes up samples [start, stop)."""
    first = 0
    for path, low, high in pieces:
        cut = max(start - first, 0), min(stop - first, high - low)
        if cut[0] < cut[1]:
            yield path, low + cut[0], low + cut[1]
        first += high - low


def deal(dealing: Dealing, folder: Path) -> Result:
    """Write its shards; count labels, languages and lengths."""
    rows = pa.concat_tables([tables.read(path).slice(start, stop - start) for path, start, stop in dealing.pieces])
    shards, labels, languages, lengths = [], Counter[int](), Counter[str](), np.zeros(32, np.int64)
    longest = 0
    for lane in range(dealing.low, min(dealing.high, len(rows))):
        table = rows.take(pa.array(np.arange(lane, len(rows), dealing.lanes)))
        path = f"{dealing.split}/stratum-{dealing.stratum}/lane-{lane:05d}/shard-{dealing.number:05d}.parquet"
        tokens = pc.list_value_length(table["input_ids"]).to_numpy()
        shards.append(_write(table, dealing.out, path, int(tokens.sum())).model_dump())
        if dealing.labelled:
            labels += _labels(table)
        languages += Counter(name or "not identified" for name in table["language"].to_pylist())
        lengths += np.bincount(np.frexp(np.maximum(tokens, 1))[1] - 1, minlength=32)
        longest = max(longest, int(tokens.max()))
    counts = {"labels": sorted(labels.items()), "languages": dict(languages), "lengths": lengths.tolist()}
    return {"shards": shards, "low": dealing.low, "longest": longest, **counts}


def _labels(table: pa.Table) -> Counter[int]:
    """How often each label number occurs; targets that are not numbers of labels are not counted."""
    label = table["label"]
    flat = pc.list_flatten(label) if pa.types.is_list(label.type) else label
    return Counter(
        {entry["values"]: entry["counts"] for entry in pc.value_counts(flat).to_pylist() if entry["values"] >= 0}
    )


def _write(table: pa.Table, out: Path, path: str, tokens: int) -> Shard:
    file = out / path
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.combine_chunks(), file, compression="zstd", write_page_checksum=True)
    return Shard(path=path, rows=len(table), tokens=tokens, bytes=file.stat().st_size, sha256=sha256(file))


def split_entry(
    kinds: list[Stratum], results: list[tuple[Dealing, Result]], labels: list[str], lanes: int
) -> SplitEntry:
    """What the manifest says of a split whose strata are of these kinds."""
    strata = []
    for number, kind in enumerate(kinds):
        shards: list[list[Shard]] = [[] for _ in range(lanes)]
        for dealing, result in results:
            if dealing.stratum == number:
                for lane, shard in enumerate(result["shards"], start=dealing.low):
                    shards[lane].append(Shard(**shard))
        samples = sum(shard.rows for lane in shards for shard in lane)
        strata.append(kind.model_copy(update={"samples": samples, "shards": shards}))
    by_number, languages, lengths = Counter[int](), Counter[str](), np.zeros(32, np.int64)
    for _, result in results:
        by_number += Counter(dict(result["labels"]))
        languages += Counter(result["languages"])
        lengths += np.array(result["lengths"])
    named = {labels[number]: count for number, count in sorted(by_number.items()) if number < len(labels)}
    return SplitEntry(
        samples=sum(stratum.samples for stratum in strata),
        tokens=sum(shard.tokens for stratum in strata for lane in stratum.shards for shard in lane),
        longest=max((result["longest"] for _, result in results), default=0),
        labels=named,
        languages=dict(sorted(languages.items())),
        lengths=np.trim_zeros(lengths, "b").tolist(),
        strata=strata,
    )
