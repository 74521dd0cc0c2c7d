"""Damaged files: whatever the bytes are, rows come out as fields or with the reason why not, the sound ones whole."""

from __future__ import annotations

import io
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from format_files import FOLDER_SAFE, MAKE, PACK, TEXTS, put, read, text_of
from hypothesis import example, given
from hypothesis import strategies as st

from gb_ray.corpus.encoder import Reject
from gb_ray.corpus.sources.formats import jsonl
from gb_ray.corpus.sources.formats.format import FORMATS
from gb_ray.section import UserError


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize("format", ["csv", "tsv", "jsonl", "conll"])
def test_a_compressed_file_gives_the_same_rows_and_a_cut_one_says_so_once(
    format: str, suffix: str, tmp_path: Path
) -> None:
    texts = [f"{i} {random.Random(i).randbytes(40).hex()}" for i in range(6_000)]
    packed = PACK[suffix](MAKE[format](texts))
    name = f"x.{format}{suffix}"
    assert [text_of(row) for _, row in read(put(tmp_path, name, packed))] == texts
    for cut in (len(packed) - 1, len(packed) * 3 // 4):
        found = read(put(tmp_path, name, packed[:cut]))
        assert found[-1][1] == "the file ends early"
        assert [text_of(row) for _, row in found[:-1]] == texts[: len(found) - 1]
        # zstd and bzip2 give nothing of a block that is not whole.
        assert len(found) > (0.7 if suffix == ".gz" else 0.4) * len(texts)


def test_a_compressed_file_that_is_no_such_thing_has_no_rows(tmp_path: Path) -> None:
    for suffix in PACK:
        file = put(tmp_path, f"x.jsonl{suffix}", b'{"text": "not compressed"}\n' * 10)
        assert read(file) == [(0, "the file is damaged from here on")]
        with pytest.raises(UserError, match="not one readable jsonl row"):
            jsonl.columns(file)


@pytest.mark.parametrize("format", FORMATS)
@given(content=st.binary(max_size=400))
@example(content=b"PAR1" + b"\0" * 8 + b"PAR1")
@example(content=b"a\n\n\xff\n-DOCSTART-")
@example(content=b'a,b\n"')
@FOLDER_SAFE
def test_any_bytes_are_rows_reasons_or_refused_as_a_whole(
    format: str, content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = put(tmp_path_factory.getbasetemp(), "fuzz", content)
    kind = FORMATS[format]
    try:
        assert all(isinstance(name, str) for name in kind.columns(file))
    except UserError as error:
        assert file.uri in str(error)
    try:
        found = [pair for piece in kind.pieces(file) for pair in kind.rows(piece)]
    except UserError as error:
        assert file.uri in str(error)
    else:
        assert all(isinstance(row, dict | Reject) for _, row in found)
        numbers = [number for number, _ in found]
        assert numbers == sorted(set(numbers))


EDITS = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from(["flip", "cut", "insert", "drop"]), st.integers(1, 255)),
    min_size=1,
    max_size=3,
)


def edited(content: bytes, edits: list[tuple[float, str, int]]) -> bytes:
    for where, what, value in edits:
        at = int(where * max(0, len(content) - 1))
        if what == "flip":
            content = content[:at] + bytes([content[at] ^ value]) + content[at + 1 :] if content else b""
        elif what == "cut":
            content = content[:at]
        elif what == "insert":
            content = content[:at] + bytes([value]) * (value % 5 + 1) + content[at:]
        else:
            content = content[:at] + content[at + value % 5 + 1 :]
    return content


@pytest.mark.parametrize("format", MAKE)
@given(edits=EDITS)
@FOLDER_SAFE
def test_a_damaged_file_never_crashes_the_reader(
    format: str, edits: list[tuple[float, str, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = put(tmp_path_factory.getbasetemp(), "damaged", edited(MAKE[format](TEXTS), edits))
    kind = FORMATS[format]
    try:
        found = [pair for piece in kind.pieces(file) for pair in kind.rows(piece)]
    except UserError:
        return
    assert all(isinstance(row, dict | Reject) for _, row in found)
    numbers = [number for number, _ in found]
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize(("format", "most"), [("tsv", 2), ("jsonl", 2), ("conll", 2), ("parquet", 10)])
@given(where=st.floats(0, 1), value=st.integers(1, 255))
@FOLDER_SAFE
def test_a_changed_byte_spoils_its_neighbours_at_most(
    format: str, most: int, where: float, value: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A line and the one it may be joined to; of parquet a row group. Not said of headers and footers."""
    content = MAKE[format](TEXTS)
    start = len(b"text\n") if format == "tsv" else 0
    footer = int.from_bytes(content[-8:-4], "little") + 8 if format == "parquet" else 0
    stop = len(content) - footer
    content = content[:start] + edited(content[start:stop], [(where, "flip", value)]) + content[stop:]
    file = put(tmp_path_factory.getbasetemp(), "changed", content)
    try:
        found = read(file, format)
    except UserError:
        assert (format, where) == ("parquet", 0)
        return
    kept = {text_of(row) for _, row in found if isinstance(row, dict) and text_of(row) in TEXTS}
    assert len(kept) >= len(TEXTS) - most


def test_parquet_a_damaged_page_takes_the_rows_of_its_group_and_each_is_counted(tmp_path: Path) -> None:
    content = bytearray(MAKE["parquet"](TEXTS))
    content[content.index(b"row 15")] ^= 1
    found = read(put(tmp_path, "x.parquet", bytes(content)))
    lost = [(number, row) for number, row in found if isinstance(row, str)]
    assert lost == [(number, "in a damaged part of the file") for number in range(10, 20)]
    assert [text_of(row) for _, row in found if isinstance(row, dict)] == TEXTS[:10] + TEXTS[20:]


@pytest.mark.parametrize("format", ["parquet", "arrow-folder"])
def test_a_value_that_is_no_text_costs_its_row(format: str, tmp_path: Path) -> None:
    texts = [f"t{i}".encode() for i in range(3000)]
    texts[7] = texts[2048] = b"\xff\xfe"
    column = pa.Array.from_buffers(pa.string(), 3000, pa.array(texts, pa.binary()).buffers())
    sink = io.BytesIO()
    if format == "parquet":
        pq.write_table(pa.table({"text": column}), sink)
    else:
        with pa.ipc.new_stream(sink, pa.schema({"text": pa.string()})) as writer:
            writer.write_table(pa.table({"text": column}))
    found = read(put(tmp_path, "x", sink.getvalue()), format)
    assert [number for number, _ in found] == list(range(3000))
    assert {number: row for number, row in found if isinstance(row, str)} == {7: "not UTF-8", 2048: "not UTF-8"}


def test_an_arrow_stream_cut_between_two_batches_says_so(tmp_path: Path) -> None:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, pa.schema({"text": pa.string()})) as writer:
        for i in range(0, 40, 10):
            ends = sink.tell()
            writer.write_table(pa.table({"text": TEXTS[i : i + 10]}))
    found = read(put(tmp_path, "x.arrow", sink.getvalue()[:ends]))
    assert [row for _, row in found] == [{"text": text} for text in TEXTS[:30]] + ["the file ends early"]
    assert [number for number, _ in found] == list(range(31))
