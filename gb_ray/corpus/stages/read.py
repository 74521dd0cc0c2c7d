"""First stage of a build: every row of every source, cleaned, or with the reason why it is left out.

What a piece of a file gives is kept for the next build: a corpus with one more file reads that file alone.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gb_ray.corpus.clean.cleaner import Cleaner, Dropped
from gb_ray.corpus.encoder import Encoder, Fields, Reject
from gb_ray.corpus.near.lsh import bands
from gb_ray.corpus.section import CorpusSection
from gb_ray.corpus.sources.formats.piece import Row
from gb_ray.corpus.sources.lag import Lags
from gb_ray.corpus.sources.moment import moment
from gb_ray.corpus.sources.source import OpenPiece, OpenSource
from gb_ray.corpus.stages import tables
from gb_ray.corpus.stages.excerpt import excerpt
from gb_ray.corpus.stages.neighbours import Neighbours
from gb_ray.corpus.stages.stage import Result

CHUNK_ROWS = 1024
PART_BYTES = 64 << 20
LEFT_OUT = "left-out.jsonl"


@dataclass(frozen=True)
class Reading:
    """A piece of a source's file to read, and how."""

    source: OpenSource
    piece: OpenPiece
    encoder: Encoder
    section: CorpusSection
    code: str

    @property
    def name(self) -> str:
        """sha256 (hex) of what decides the outcome; the source's place in the recipe does not."""
        how = self.section.model_dump(mode="json", include={"clean", "duplicates", "min_chars"})
        splits = self.section.splits
        how["splits"] = splits.column and [splits.by, splits.column]
        what = [self.piece.fingerprint(), self.source.section.model_dump(mode="json", exclude={"weight", "licence"})]
        if self.source.section.lags:  # what was before may be in any of its files
            what.append(self.source.fingerprint())
        content = json.dumps([what, how, self.encoder.fingerprint(), self.code], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:32]


def schema(encoder: Encoder, section: CorpusSection) -> pa.Schema:
    """Of a cleaned row. `key` is what the split goes by: a group, or a time in seconds or as it is."""
    fields = [("id", tables.ID), ("row", pa.int64()), ("split", pa.string()), ("language", pa.string())]
    if section.splits.by in ("group", "time"):
        fields.append(("key", pa.string() if section.splits.by == "group" else pa.float64()))
    if section.duplicates.near != "keep" and "text" not in encoder.fields.names:
        fields.append(("text", pa.string()))
    return pa.schema([*fields, *encoder.fields])


def read(reading: Reading, folder: Path) -> Result:
    """Write part-*.arrow, each in order of id, and left-out.jsonl; count."""
    reader = _PieceReader(reading, folder)
    chunk: list[tuple[int, Row | Reject]] = []
    for entry in reading.source.rows(reading.piece):
        chunk.append(entry)
        if len(chunk) == CHUNK_ROWS:
            reader.take(chunk)
            chunk = []
    reader.take(chunk)
    return reader.finish()


class _PieceReader:
    """Gathers cleaned rows until they fill a part; memory is bounded by PART_BYTES and one chunk."""

    def __init__(self, reading: Reading, folder: Path):
        self.reading, self.folder = reading, folder
        self.schema = schema(reading.encoder, reading.section)
        self.lags = Lags.of(reading.source)
        self.cleaner = Cleaner(reading.section.clean, reading.encoder, reading.source.section.language)
        self.counts: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.parts: list[int] = []
        self.bytes = 0
        self.pending: list[pa.Table] = []
        self.left_out = (folder / LEFT_OUT).open("w", encoding="utf-8")
        self.neighbours = Neighbours(reading.encoder.context) if reading.encoder.context else None
        self.left: list[int] = []  # the numbers of the rows left out of this chunk
        self.left_before = 0  # of the chunks before it, how many

    def take(self, chunk: list[tuple[int, Row | Reject]]) -> None:
        """Clean some rows."""
        self.counts["read"] += len(chunk)
        usable: list[tuple[int, Row, Any]] = []
        for number, row in chunk:
            if isinstance(row, Reject):
                self._leave("quarantined", number, row, {})
            elif not self.reading.source.wanted(row):
                self.counts["filtered"] += 1
            else:
                try:
                    renamed = self.reading.source.renamed(self.lags.added(row), self.reading.encoder.columns)
                    usable.append((number, renamed, self._key(row)))
                except Reject as reject:
                    self._leave("quarantined", number, reject, row)
        kept = []
        outcomes = self.cleaner.clean([row for _, row, _ in usable])
        for (number, row, key), outcome in zip(usable, outcomes, strict=True):
            if isinstance(outcome, tuple):
                kept.append(self._row(number, key, outcome) | self._document(row))
            else:
                self._leave("dropped" if isinstance(outcome, Dropped) else "quarantined", number, outcome, row)
        self._keep(self._surrounded(kept))
        self.left_before += len(self.left)
        self.left = []

    def finish(self) -> Result:
        """Write what is pending. Returns the tally."""
        if self.neighbours:
            self._keep(self.neighbours.end())
        self._flush()
        self.left_out.close()
        counts = {what: self.counts[what] for what in ("read", "filtered", "quarantined", "dropped", "kept")}
        cleaned = {"repaired": self.cleaner.counts.repaired, "masked": dict(self.cleaner.counts.masked)}
        return {**counts, **cleaned, "reasons": dict(self.reasons), "parts": self.parts, "bytes": self.bytes}

    def _key(self, row: Row) -> str | float | None:
        splits = self.reading.section.splits
        if splits.column is None or self._given_split():
            return None
        return split_key(row.get(splits.column), splits.column, splits.by)

    def _given_split(self) -> str | None:
        return self.reading.source.section.split or self.reading.piece.opened.input.split

    def _row(self, number: int, key: str | float | None, outcome: tuple[Fields, str | None]) -> dict[str, Any]:
        fields, language = outcome
        encoder, split = self.reading.encoder, self._given_split()
        id = hashlib.blake2b(encoder.identity(fields).encode(), digest_size=16).digest()
        row = {"id": id, "row": number, "split": split, "language": language, "key": key, **fields}
        if "text" in self.schema.names and "text" not in fields:
            row["text"] = encoder.text(fields)
        return row

    def _document(self, row: Row) -> dict[str, str]:
        column = self.reading.encoder.document
        return {} if column is None else {"document": str(row[column])}  # as groups are compared: see split_key

    def _surrounded(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The rows whose neighbours are known by now.

        A row that is left out, unreadable or unwanted as it is, is no neighbour, and no row sees what is beyond it;
        rows that the recipe's `where` filters are as if the file did not have them.
        """
        if not self.neighbours:
            return rows
        left, found = sorted(self.left), []
        for row in rows:
            border = self.left_before + bisect(left, row["row"])
            found += self.neighbours.add(row, (row.get("document"), border))
        return found

    def _keep(self, rows: list[dict[str, Any]]) -> None:
        if not rows:
            return
        table = pa.Table.from_pylist(rows, self.schema)
        near = self.reading.section.duplicates
        if near.near != "keep":
            keys = bands([row["text"] for row in rows], near.similarity)
            column = pa.FixedSizeListArray.from_arrays(pa.array(keys.ravel(), pa.uint64()), keys.shape[1])
            table = table.append_column("bands", column)
        self.counts["kept"] += len(rows)
        self.pending.append(table)
        if sum(table.nbytes for table in self.pending) > PART_BYTES:
            self._flush()

    def _flush(self) -> None:
        if not self.pending:
            return
        table = pa.concat_tables(self.pending).combine_chunks()
        table = table.take(pc.sort_indices(table, sort_keys=[("id", "ascending"), ("row", "ascending")]))
        tables.write(table, self.folder / f"part-{len(self.parts):04d}.arrow")
        self.parts.append(len(table))
        self.bytes += table.nbytes
        self.pending = []

    def _leave(self, step: str, number: int, why: Reject | Dropped, row: Row) -> None:
        self.counts[step] += 1
        self.reasons[str(why)] += 1
        self.left.append(number)
        file = self.reading.piece.opened.input.file
        place = {"source": self.reading.source.section.uri, "file": file.uri, "row": number}
        shown = excerpt(row, self.reading.section.clean.personal)
        line = {**place, "step": step, "reason": str(why), "excerpt": shown}
        self.left_out.write(json.dumps(line, ensure_ascii=False) + "\n")


def split_key(value: Any, column: str, by: str) -> str | float:
    """A group as text, a time as seconds since 1970 (or as the number it is). Raises Reject."""
    if by == "time":
        return moment(value, column)
    if value is None or value == "":
        raise Reject(f"{column} is missing")
    return str(value)
