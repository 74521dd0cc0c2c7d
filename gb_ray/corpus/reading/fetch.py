"""Files of a corpus, whole and verified, from this machine or from an object store."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gb_ray.corpus.manifest import Shard
from gb_ray.corpus.sources import remote

COLUMNS = ["id", "input_ids", "label"]


class DamagedCorpus(Exception):
    """A file of a corpus is not the one that was built; the message names it."""


def read(folder: Path | str, name: str) -> pa.Buffer:
    """The bytes of file `name` of a folder: a local path, or an address such as s3://BUCKET/folder.

    Raises FileNotFoundError, another OSError of a local disk, or, of a store and after retries, `remote.Unreachable`
    and UserError.
    """
    if isinstance(folder, Path):
        with pa.OSFile(str(folder / name)) as file:
            return file.read_buffer()
    store, root = remote.split(folder)
    system, path = remote.connect(store), f"{root.rstrip('/')}/{name}"
    found = remote.persist(address(folder, name), lambda: _read(system, path))
    if found is None:
        raise FileNotFoundError(address(folder, name))
    return found


def address(folder: Path | str, name: str) -> str:
    """What a file is called in messages: its path, or its address without options."""
    return str(folder / name) if isinstance(folder, Path) else f"{folder.partition('?')[0].rstrip('/')}/{name}"


def fetch(folder: Path | str, shard: Shard) -> pa.Table:
    """The columns id, input_ids and label of a shard.

    Not a byte is decoded before the file's sha256 is that of the manifest: decoders are made for well-formed files.
    Raises DamagedCorpus, and what `read` raises except FileNotFoundError.
    """
    try:
        content = read(folder, shard.path)
    except FileNotFoundError:
        raise _damaged(folder, shard, "it is missing") from None
    if content.size != shard.bytes:
        raise _damaged(folder, shard, f"it has {content.size} bytes, expected {shard.bytes}")
    if hashlib.sha256(content).hexdigest() != shard.sha256:
        raise _damaged(folder, shard, "its sha256 is not the manifest's")
    # Its own threads would take the cores of other workers.
    table = pq.ParquetFile(pa.BufferReader(content)).read(COLUMNS, use_threads=False)
    if table.num_rows != shard.rows:
        raise _damaged(folder, shard, f"it has {table.num_rows} rows, expected {shard.rows}")
    return table


def _read(system: pa.fs.FileSystem, path: str) -> pa.Buffer | None:
    """None when there is no such file. A body that was cut short is an OSError, which is worth another try."""
    try:
        file = system.open_input_file(path)
    except FileNotFoundError:
        return None
    with file:
        content = file.read_buffer()
        if content.size != file.size():
            raise OSError(f"{content.size} bytes came of {file.size()}")
        return content


def _damaged(folder: Path | str, shard: Shard, what: str) -> DamagedCorpus:
    return DamagedCorpus(
        f"{address(folder, shard.path)}: damaged: {what}; see what else is with: gb corpus check RECIPE, "
        "then remove the corpus and build it again"
    )
