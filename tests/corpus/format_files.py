"""Small valid files of every format, and all their rows."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, settings

from gb_ray.corpus.encoder import Reject
from gb_ray.corpus.sources.formats.format import FORMATS, identify
from gb_ray.corpus.sources.formats.piece import Piece
from gb_ray.corpus.sources.storage import File, files

TEXTS = [f"row {i} ¿é 水?" for i in range(40)]
FOLDER_SAFE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)


def put(folder: Path, name: str, content: str | bytes) -> File:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return files(str(folder / name))[0]


def read(file: File, format: str | None = None, pieces: list[Piece] | None = None) -> list[tuple[int, Any]]:
    """(number, row or reason) of the whole file."""
    kind = FORMATS[format or identify(file)]
    found = [pair for piece in pieces or kind.pieces(file) for pair in kind.rows(piece)]
    return [(number, str(row) if isinstance(row, Reject) else row) for number, row in found]


def parquet_bytes(texts: list[str], **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"text": texts}), sink, **options)
    return sink.getvalue()


def stream_bytes(texts: list[str], batch: int = 10) -> bytes:
    sink = io.BytesIO()
    table = pa.table({"text": texts})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=batch)
    return sink.getvalue()


def csv_bytes(texts: list[str], **dialect: Any) -> bytes:
    sink = io.StringIO()
    csv.writer(sink, **dialect).writerows([["text"], *([text] for text in texts)])
    return sink.getvalue().encode()


def conll_bytes(texts: list[str]) -> bytes:
    return "\n\n".join("\n".join(f"{word}\tO" for word in text.split()) for text in texts).encode()


PLAIN = {"compression": "none", "use_dictionary": False}
MAKE: dict[str, Callable[[list[str]], bytes]] = {
    "csv": csv_bytes,
    "tsv": lambda texts: "\n".join(["text", *texts]).encode(),
    "jsonl": lambda texts: "\n".join(json.dumps({"text": text}, ensure_ascii=False) for text in texts).encode(),
    "parquet": lambda texts: parquet_bytes(texts, row_group_size=10, write_page_checksum=True, **PLAIN),
    "conll": conll_bytes,
    "arrow-folder": stream_bytes,
}
PACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": lambda content: bz2.compress(content, 1),
    ".zst": lambda content: pa.compress(content, codec="zstd", asbytes=True),
}


def text_of(row: Any) -> str:
    return " ".join(row["tokens"]) if "tokens" in row else row.get("text")
