"""Last stage of a build: samples in global order are dealt to lanes and written as shards.

Sample g of a split goes to lane g % C, row g // C. The s-th shards of all lanes hold the samples
[s * C * R, (s + 1) * C * R): one task takes that slice, deals it, and writes C files.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray

from gb_ray.corpus.encode import Encoded
from gb_ray.corpus.location import sha256
from gb_ray.corpus.manifest import Shard, SplitEntry
from gb_ray.corpus.section import CorpusSection
from gb_ray.progress import Stage

Piece = tuple[int, int]
"""Rows [start, stop) of a block's samples of one split."""


def write_split(
    blocks: list[Encoded], split: str, labels: list[str], section: CorpusSection, out: Path, stage: Stage
) -> SplitEntry:
    """Write the samples of one split under `out/SPLIT`."""
    samples = sum(block.counts[split] for block in blocks)
    group_rows = section.lanes * section.shard_rows
    groups = [
        _write_group.remote(out, split, number, section.lanes, *_pieces(blocks, split, start, start + group_rows))
        for number, start in enumerate(range(0, samples, group_rows))
    ]
    shards: list[list[Shard]] = [[] for _ in range(section.lanes)]
    counts: Counter[int] = Counter()
    longest = 0
    for group in groups:
        written, group_counts, group_longest = ray.get(group)
        for lane, shard in enumerate(written):
            shards[lane].append(shard)
        counts += group_counts
        longest = max(longest, group_longest)
        stage.to(sum(shard.rows for lane in shards for shard in lane))
    tokens = sum(shard.tokens for lane in shards for shard in lane)
    by_label = {labels[number]: count for number, count in sorted(counts.items())}
    return SplitEntry(samples=samples, tokens=tokens, longest=longest, labels=by_label, shards=shards)


def _pieces(blocks: list[Encoded], split: str, start: int, stop: int) -> list[Any]:
    """The list of pieces that make up samples [start, stop) of a split, then the blocks they are pieces of."""
    pieces: list[Piece] = []
    refs = []
    first = 0
    for block in blocks:
        count = block.counts[split]
        low, high = max(start, first), min(stop, first + count)
        if low < high:
            pieces.append((low - first, high - first))
            refs.append(block.ref)
        first += count
    return [pieces, *refs]


@ray.remote
def _write_group(
    out: Path, split: str, number: int, lanes: int, pieces: list[Piece], *tables: pa.Table
) -> tuple[list[Shard], Counter[int], int]:
    """The shards written (one a lane that has rows), samples of each label, tokens of the longest sample."""
    parts = [
        table.filter(pc.equal(table["split"], split)).slice(start, stop - start)
        for table, (start, stop) in zip(tables, pieces, strict=True)
    ]
    rows = pa.concat_tables(parts).drop_columns(["split"]).combine_chunks()
    shards = []
    for lane in range(min(lanes, len(rows))):
        path = out / split / f"lane-{lane:05d}" / f"shard-{number:05d}.parquet"
        shards.append(_write_shard(rows.take(pa.array(range(lane, len(rows), lanes))), path, out))
    label = rows["label"]
    flat = pc.list_flatten(label) if pa.types.is_list(label.type) else label
    counts = Counter({entry["values"]: entry["counts"] for entry in pc.value_counts(flat).to_pylist()})
    asked = Counter({label: count for label, count in counts.items() if label >= 0})
    return shards, asked, pc.max(pc.list_value_length(rows["input_ids"])).as_py()


def _write_shard(table: pa.Table, path: Path, out: Path) -> Shard:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression="zstd")
    tokens = pc.sum(pc.list_value_length(table["input_ids"])).as_py()
    return Shard(
        path=str(path.relative_to(out)),
        rows=len(table),
        tokens=tokens,
        bytes=path.stat().st_size,
        sha256=sha256(path),
    )
