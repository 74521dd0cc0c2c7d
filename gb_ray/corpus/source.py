"""Reading sources: every row of every file comes out, as fields or with the reason why not.

A row's number counts from 0 in its file: data rows for CSV and parquet, lines for JSON lines.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gb_ray.corpus.encoder import Reject
from gb_ray.corpus.location import locate, verify
from gb_ray.corpus.section import Source
from gb_ray.section import UserError

FORMATS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
Row = dict[str, Any]


@dataclass(frozen=True)
class OpenSource:
    """A source whose file is there, readable as its format, and has the columns a task needs."""

    section: Source
    path: Path
    format: str
    sha256: str

    def rows(self) -> Iterator[tuple[int, Row | Reject]]:
        """(number, row) in file order; a row that cannot be decoded comes as Reject."""
        return {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}[self.format](self.path)

    def wanted(self, row: Row) -> bool:
        """Whether the recipe's `where` keeps this row."""
        return all(_same(row.get(column), value) for column, value in self.section.where.items())


def open_source(section: Source, columns: list[str]) -> OpenSource:
    """Check a source before any work is done. Raises UserError when it is unusable as a whole."""
    path = locate(section.uri)
    format = section.format or FORMATS.get(path.suffix.lower())
    if not path.is_file():
        raise UserError(f"{section.uri}: expected a file, found a folder")
    if format is None:
        raise UserError(f"{section.uri}: unknown format {path.suffix!r}; set format: to one of csv, jsonl, parquet")
    if path.stat().st_size == 0:
        raise UserError(f"{section.uri}: the file is empty")
    digest = verify(section.uri, path, section.sha256)
    source = OpenSource(section, path, format, digest)
    found = _columns(source)
    missing = [column for column in [*columns, *section.where] if column not in found]
    if missing:
        raise UserError(f"{section.uri}: no column {missing[0]!r}; the file has {', '.join(sorted(found))}")
    return source


def _columns(source: OpenSource) -> list[str]:
    if source.format == "parquet":
        return list(_open_parquet(source.path, source.section.uri).schema_arrow.names)
    first = next((row for _, row in source.rows() if isinstance(row, dict)), None)
    if first is None:
        raise UserError(f"{source.section.uri}: not one readable {source.format} row in it")
    return list(first)


def _same(found: Any, wanted: Any) -> bool:
    """CSV has only text: compare with the text of the recipe's value as well ('True' and true are the same)."""
    return found == wanted or (isinstance(found, str) and found.strip().lower() == str(wanted).lower())


def _csv(path: Path) -> Iterator[tuple[int, Row | Reject]]:
    with path.open("rb") as raw:
        # surrogateescape lets one bad byte spoil one row, not the file.
        text = io.TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline="")
        # Strict: a quote that is never closed would make the rest of the file one long value.
        reader = csv.reader(text, strict=True)
        header = _header(path, reader)
        for number, values in enumerate(_records(reader)):
            if isinstance(values, Reject):
                yield number, values
            elif len(values) != len(header):
                yield number, Reject(f"{len(values)} values for {len(header)} columns")
            else:
                yield number, dict(zip(header, values, strict=True))


def _header(path: Path, reader: Iterator[list[str]]) -> list[str]:
    header = next(_records(reader), [])
    if isinstance(header, Reject):
        raise UserError(f"{path}: its first line is no header: {header}")
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice:
        raise UserError(f"{path}: two columns are named {twice[0]!r}")
    return header


def _records(reader: Iterator[list[str]]) -> Iterator[list[str] | Reject]:
    """The records of a CSV file; after one that is malformed it goes on with the next line."""
    csv.field_size_limit(2**31 - 1)  # its default of 131072 would refuse long documents
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Reject(f"not CSV: {error}")


def _jsonl(path: Path) -> Iterator[tuple[int, Row | Reject]]:
    with path.open("rb") as file:
        for number, line in enumerate(file):
            if not line.strip():
                continue
            try:
                row = json.loads(line.decode("utf-8" if number else "utf-8-sig"))
            except UnicodeDecodeError:
                yield number, Reject("not UTF-8")
            except (ValueError, RecursionError):
                yield number, Reject("not JSON")
            else:
                yield number, row if isinstance(row, dict) else Reject("not a JSON object")


def _parquet(path: Path) -> Iterator[tuple[int, Row | Reject]]:
    number = 0
    for batch in _open_parquet(path, str(path)).iter_batches(batch_size=1024):
        for row in _batch_rows(batch):
            yield number, row
            number += 1


def _batch_rows(batch: pa.RecordBatch) -> Iterator[Row | Reject]:
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        # Parquet's writers may put any bytes in a text column: find the rows that are not UTF-8.
        for i in range(batch.num_rows):
            try:
                yield batch.slice(i, 1).to_pylist()[0]
            except UnicodeDecodeError:
                yield Reject("not UTF-8")


def _open_parquet(path: Path, uri: str) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, memory_map=True)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{uri}: not a whole parquet file: {error}") from None
