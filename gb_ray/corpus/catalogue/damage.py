"""Where a shard is damaged: every page carries a checksum, so each column of each row group can be tried alone."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

_BROKEN = (OSError, ValueError, pa.ArrowException)


def locate(content: pa.Buffer) -> str:
    """What of a damaged parquet file does not read: `row group 0, column text; row group 2, column id`.

    Or that it is the footer, which says where the columns are; or that all columns read, so that what is damaged is
    the head of a page, the footer's statistics, or what lies between.
    """
    try:
        file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        names = file.schema_arrow.names
    except _BROKEN:
        return "the footer does not read"
    found = [
        f"row group {group}, column {name}"
        for group in range(file.num_row_groups)
        for name in names
        if not _reads(file, group, name)
    ]
    return ("; ".join(found) + " cannot be read") if found else "every column reads: footer or padding is damaged"


def _reads(file: pq.ParquetFile, group: int, name: str) -> bool:
    try:
        file.read_row_group(group, columns=[name], use_threads=False)
    except _BROKEN:
        return False
    return True
