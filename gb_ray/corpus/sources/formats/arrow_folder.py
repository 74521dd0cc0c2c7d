"""What `datasets.Dataset.save_to_disk` writes: a folder with `state.json`, and data files in Arrow's stream format."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from gb_ray.corpus.encoder import Reject
from gb_ray.corpus.sources.formats.piece import Piece, Rows, whole
from gb_ray.corpus.sources.formats.tables import DAMAGE, batch_rows, names
from gb_ray.corpus.sources.storage import File
from gb_ray.section import UserError

END = b"\xff\xff\xff\xff\x00\x00\x00\x00"
"""The last bytes of a stream (Arrow Columnar Format, IPC Streaming Format): one cut between two batches lacks them."""


def data_files(state: File, beside: dict[str, File]) -> list[File]:
    """The data files that `state.json` names, out of those in its folder by name.

    Raises UserError when one is not there, and for a folder written by `datasets` before 2.0 with rows selected.
    """
    try:
        with state.open() as file:
            content = json.load(file)
        wanted = [entry["filename"] for entry in content["_data_files"]]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{state.uri}: not what datasets' save_to_disk writes") from None
    if content.get("_indices_data_files"):
        raise UserError(f"{state.uri}: rows are selected by an index; save it with a newer version of datasets")
    missing = [name for name in wanted if name not in beside]
    if missing:
        raise UserError(f"{state.uri}: {missing[0]} is named in it but not there; copy the whole folder")
    return [beside[name] for name in wanted]


def pieces(file: File) -> list[Piece]:
    """One a data file: `save_to_disk` writes several of at most 500 MB."""
    return whole(file)


def columns(file: File) -> list[str]:
    """Of its schema. Raises UserError when it is not an Arrow stream."""
    try:
        with pa.ipc.open_stream(file.raw()) as stream:
            return names(file, stream.schema)
    except DAMAGE as error:
        raise UserError(f"{file.uri}: not an Arrow stream: {error}") from None


def class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """{column: the names that its numbers stand for}, of the columns that `datasets` calls ClassLabel, lists included.

    They are in the schema's metadata, as `datasets.Features.arrow_schema` writes them.
    """
    content = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    features = content.get("info", {}).get("features", {})
    found = {column: _class_names(feature) for column, feature in features.items() if column in schema.names}
    return {column: names for column, names in found.items() if names}


def _class_names(feature: Any) -> list[str] | None:
    # Lists are written as [feature] by older versions, and by newer ones as a type with a feature in it.
    if isinstance(feature, list):
        return _class_names(feature[0])
    if not isinstance(feature, dict):
        return None
    if feature.get("_type") == "ClassLabel":
        return list(feature["names"])
    return _class_names(feature.get("feature")) if feature.get("_type") in ("List", "LargeList", "Sequence") else None


def _named(value: Any, names: list[str]) -> Any:
    """The name of a number; one that stands for nothing (-1: not labelled) is null."""
    if isinstance(value, list):
        return [_named(one, names) for one in value]
    return names[value] if value is not None and 0 <= value < len(names) else None


def rows(piece: Piece) -> Rows:
    """(number, row) in order; a number of a ClassLabel column by its name."""
    raw = piece.file.raw()
    raw.seek(max(0, piece.file.size - len(END)))
    whole_file = raw.read(len(END)) == END
    raw.seek(0)
    number = 0
    try:
        with pa.ipc.open_stream(raw) as stream:
            classes = class_names(stream.schema)
            for batch in stream:
                for row in batch_rows(batch):
                    if classes and not isinstance(row, Reject):
                        row = {**row, **{name: _named(row[name], known) for name, known in classes.items()}}
                    yield number, row
                    number += 1
    except DAMAGE:
        yield number, Reject("the file is damaged from here on" if whole_file else "the file ends early")
    else:
        if not whole_file:
            yield number, Reject("the file ends early")
