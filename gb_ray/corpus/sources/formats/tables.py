"""From Arrow batches to rows, one bad value costing one row."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from gb_ray.corpus.encoder import Reject
from gb_ray.corpus.sources.formats.piece import Row
from gb_ray.corpus.sources.storage import File
from gb_ray.section import UserError

DAMAGE = (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError)
"""What pyarrow raises on bytes that are not what they should be; a length that is damaged asks for too much memory."""


def batch_rows(batch: pa.RecordBatch) -> Iterator[Row | Reject]:
    """The rows of a batch. Raises pyarrow.ArrowInvalid when it holds together so badly that they cannot be counted."""
    batch.validate()
    try:
        batch.validate(full=True)
        yield from batch.to_pylist()
    except (ValueError, OverflowError):  # ArrowInvalid is a ValueError
        yield from (_row(batch.slice(i, 1)) for i in range(batch.num_rows))


def _row(batch: pa.RecordBatch) -> Row | Reject:
    try:
        batch.validate(full=True)
        return batch.to_pylist()[0]
    except (ValueError, OverflowError) as error:
        # Writers may put any bytes in a text column; a date may be after the year 9999.
        return Reject("not UTF-8" if "UTF" in str(error).upper() else "a value is damaged or out of range")


def names(file: File, schema: pa.Schema) -> list[str]:
    """Its columns. Raises UserError when two have the same name: a row could hold only one."""
    found = list(schema.names)
    twice = [name for name in found if found.count(name) > 1]
    if twice:
        raise UserError(f"{file.uri}: two columns are named {twice[0]!r}")
    return found
