"""Parquet, cut by rows. A row's number counts from 0 in the file; those that a damaged page takes are counted."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pyarrow.parquet as pq

from gb_ray.corpus.encoder import Reject
from gb_ray.corpus.sources.formats.piece import Piece, Row, Rows
from gb_ray.corpus.sources.formats.tables import DAMAGE, batch_rows, names
from gb_ray.corpus.sources.storage import File
from gb_ray.section import UserError

BATCH_ROWS = 1024
PARQUET_PIECE_BYTES = 16 << 20
"""Of a file whose row groups are large, a part is found without reading what is before it in other groups."""


def pieces(file: File) -> list[Piece]:
    """Equal numbers of rows, of about 16 MiB (decompressed)."""
    return cut(file, PARQUET_PIECE_BYTES)


def cut(file: File, size: int) -> list[Piece]:
    """Pieces of about `size` bytes. A row group that lies in two of them is decoded for each."""
    metadata = _open(file).metadata
    weight = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
    rows = metadata.num_rows
    parts = max(1, min(rows, -(-weight // size)))
    edges = [rows * part // parts for part in range(parts + 1)]
    return [Piece(file, start, start, stop) for start, stop in pairwise(edges)]


def columns(file: File) -> list[str]:
    """Of its schema."""
    return names(file, _open(file).schema_arrow)


def rows(piece: Piece) -> Rows:
    """(number, row) in order; `piece` says where it stops, as all that `pieces` gives do."""
    file = _open(piece.file)
    first = 0
    for group in range(file.metadata.num_row_groups):
        count = file.metadata.row_group(group).num_rows
        low, high = max(0, piece.start - first), min(count, piece.stop - first)
        if low < high:
            yield from enumerate(_group(file, group, low, high), start=first + low)
        first += count


def _group(file: pq.ParquetFile, group: int, low: int, high: int) -> Iterator[Row | Reject]:
    """Rows [low, high) of a row group."""
    at, left = 0, high - low
    try:
        for batch in file.iter_batches(batch_size=BATCH_ROWS, row_groups=[group]):
            skipped = max(0, low - at)
            at += batch.num_rows
            for row in batch_rows(batch.slice(skipped, max(0, high - at + batch.num_rows - skipped))):
                yield row
                left -= 1
            if at >= high:
                return
    except DAMAGE:
        pass
    for _ in range(left):
        yield Reject("in a damaged part of the file")


def _open(file: File) -> pq.ParquetFile:
    try:
        found = pq.ParquetFile(file.raw(), page_checksum_verification=True)
        groups = sum(found.metadata.row_group(i).num_rows for i in range(found.metadata.num_row_groups))
    except DAMAGE as error:
        raise UserError(f"{file.uri}: not a whole parquet file: {error}") from None
    if groups != found.metadata.num_rows:
        raise UserError(f"{file.uri}: not a whole parquet file: its parts and its footer disagree on its rows")
    return found
