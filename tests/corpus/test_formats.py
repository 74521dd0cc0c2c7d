"""Formats: every row of a valid file comes out once with its number, however it is cut, packed or saved."""

from __future__ import annotations

import gzip
import io
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from format_files import FOLDER_SAFE, MAKE, TEXTS, parquet_bytes, put, read, text_of
from helpers import ROOT
from hypothesis import given
from hypothesis import strategies as st

from gb_ray.corpus.sources.formats import jsonl, parquet
from gb_ray.corpus.sources.formats.format import FORMATS, identify, inputs
from gb_ray.corpus.sources.formats.piece import Piece
from gb_ray.corpus.sources.storage import files
from gb_ray.section import UserError

SHARED = ROOT.parent / "shared" / "data"


@pytest.mark.parametrize("format", MAKE)
def test_a_valid_file_gives_all_its_rows(format: str, tmp_path: Path) -> None:
    found = read(put(tmp_path, "x", MAKE[format](TEXTS)), format)
    assert [(number, text_of(row)) for number, row in found] == list(enumerate(TEXTS))


@given(
    lines=st.lists(
        st.sampled_from([b'{"a": 1}', b"", b"{", b'{"b": "' + b"x" * 50 + b'"}', b"\xff", b"  "]), max_size=60
    ),
    size=st.integers(1, 200),
    block=st.integers(1, 64),
    ended=st.booleans(),
)
@FOLDER_SAFE
def test_jsonl_pieces_give_exactly_the_rows_of_the_whole_file(
    lines: list[bytes], size: int, block: int, ended: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = put(tmp_path, "x.jsonl", b"\n".join(lines) + b"\n" * ended)
    monkeypatch.setattr(jsonl, "BLOCK", block)
    pieces = jsonl.cut(file, size)
    assert read(file, pieces=pieces) == read(file, pieces=[Piece(file)])
    assert [piece.stop for piece in pieces[:-1]] == [piece.start for piece in pieces[1:]]
    assert len(pieces) <= file.size // size + 1


@given(rows=st.integers(0, 60), group=st.integers(1, 20), size=st.integers(1, 500))
@FOLDER_SAFE
def test_parquet_pieces_give_exactly_the_rows_of_the_whole_file(
    rows: int, group: int, size: int, tmp_path: Path
) -> None:
    file = put(tmp_path, "x.parquet", parquet_bytes([f"t{i}" for i in range(rows)], row_group_size=group))
    assert read(file, pieces=parquet.cut(file, size)) == [(i, {"text": f"t{i}"}) for i in range(rows)]


def test_a_large_file_of_json_lines_is_cut_and_a_small_or_compressed_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsonl, "PIECE_BYTES", 1 << 20)
    line = json.dumps({"text": "word " * 20_000}) + "\n"
    file = put(tmp_path, "x.jsonl", line * 27)
    pieces = jsonl.pieces(file)
    assert len(pieces) == 3
    assert [piece.number for piece in pieces] == [piece.start // len(line) for piece in pieces]
    assert len(jsonl.pieces(put(tmp_path, "y.jsonl", line * 20))) == 1
    packed = put(tmp_path, "y.jsonl.gz", gzip.compress(random.Random(0).randbytes(3 << 20)))
    assert len(jsonl.pieces(packed)) == 1


def test_tsv_a_quote_is_a_character(tmp_path: Path) -> None:
    file = put(tmp_path, "x.tsv", 'text\tlabel\n"A\ta\nB"\tb\n""\tc\n"D" said\td\nshort\n')
    assert read(file) == [
        (0, {"text": '"A', "label": "a"}),
        (1, {"text": 'B"', "label": "b"}),
        (2, {"text": '""', "label": "c"}),
        (3, {"text": '"D" said', "label": "d"}),
        (4, "1 values for 2 columns"),
    ]


def test_json_lines_may_leave_out_keys(tmp_path: Path) -> None:
    file = put(tmp_path, "x.jsonl", '{"text": "a"}\n{"text": "b", "label": "x"}\n{"lang": "en"}\n')
    assert jsonl.columns(file) == ["text", "label", "lang"]


def test_text_is_a_row_with_its_name_below_the_folder(tmp_path: Path) -> None:
    (tmp_path / "fr").mkdir()
    put(tmp_path / "fr", "a.md", "\ufeff# Été\n\nIl fait chaud.")
    put(tmp_path, "b.txt", b"\xff")
    found = [pair for file in files(str(tmp_path)) for pair in read(file)]
    assert found == [(0, "not UTF-8"), (0, {"text": "# Été\n\nIl fait chaud.", "path": "fr/a.md"})]


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("x.CSV", "csv"),
        ("x.csv.gz", "csv"),
        ("x.tsv.bz2", "tsv"),
        ("x.json", "jsonl"),
        ("x.ndjson.zst", "jsonl"),
        ("x.v2.jsonl.GZ", "jsonl"),
        ("x.md", "text"),
        ("x.iob", "conll"),
        ("x.parquet", "parquet"),
        ("x.arrow", "arrow-folder"),
    ],
)
def test_the_format_is_taken_from_the_name(name: str, format: str, tmp_path: Path) -> None:
    assert identify(put(tmp_path, name, "a")) == format


@pytest.mark.parametrize("name", ["x", "x.docx", "x.gz"])
def test_an_unknown_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"unknown format .*; set format: to one of csv, tsv"):
        identify(put(tmp_path, name, "a"))


@pytest.mark.parametrize("format", FORMATS)
def test_an_empty_file_is_refused(format: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"x: .*(empty|0 bytes|not an Arrow stream)"):
        FORMATS[format].columns(put(tmp_path, "x", ""))


@pytest.mark.parametrize("format", ["parquet", "arrow-folder"])
def test_two_columns_of_one_name_are_refused(format: str, tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    sink = io.BytesIO()
    if format == "parquet":
        pq.write_table(table, sink)
    else:
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    with pytest.raises(UserError, match="two columns are named 'a'"):
        FORMATS[format].columns(put(tmp_path, "x", sink.getvalue()))


def saved(folder: Path) -> Path:
    """A DatasetDict as `datasets` itself writes it."""
    datasets = pytest.importorskip("datasets", reason="the datasets library is not installed")
    parts = {"train": TEXTS, "test": ["t0", "t1"], "unsupervised": ["u0"]}
    dictionary = datasets.DatasetDict({n: datasets.Dataset.from_dict({"text": texts}) for n, texts in parts.items()})
    dictionary.save_to_disk(folder / "saved", num_shards={"train": 3, "test": 1, "unsupervised": 1})
    return folder / "saved"


def test_what_datasets_saves_is_read_with_its_splits(tmp_path: Path) -> None:
    found = inputs(files(str(saved(tmp_path))))
    rows: dict[str | None, list[str]] = {}
    for entry in found:
        assert FORMATS[entry.format].columns(entry.file) == ["text"]
        rows.setdefault(entry.split, []).extend(row["text"] for _, row in read(entry.file, entry.format))
    assert rows == {"train": TEXTS, "test": ["t0", "t1"], None: ["u0"]}


def test_one_split_of_it_has_no_given_split_and_only_named_files_are_read(tmp_path: Path) -> None:
    folder = saved(tmp_path) / "train"
    (folder / "cache-0123.arrow").write_bytes(b"left over")
    found = inputs(files(str(folder)))
    assert [(entry.format, entry.split) for entry in found] == [("arrow-folder", None)] * 3
    next(folder.glob("data-00001*")).unlink()
    with pytest.raises(UserError, match=r"data-00001-of-00003\.arrow is named in it but not there"):
        inputs(files(str(folder)))


def test_other_folders_are_read_by_names_or_as_the_recipe_says(tmp_path: Path) -> None:
    put(tmp_path, "a.jsonl", '{"text": "a"}')
    put(tmp_path, "b.txt", "b")
    assert [entry.format for entry in inputs(files(str(tmp_path)))] == ["jsonl", "text"]
    assert [entry.format for entry in inputs(files(str(tmp_path)), "text")] == ["text", "text"]


def test_real_data_comes_out_whole(tmp_path: Path) -> None:
    if not SHARED.is_dir():
        pytest.skip("the shared real data is not there")
    for name in ("wnut17", "banking77", "user_feedback", "udhr"):
        for file in files(str(SHARED / name / "*.parquet")):
            table = pq.read_table(file.path)
            assert read(file) == list(enumerate(table.to_pylist())), file.uri
            assert parquet.columns(file) == table.column_names


def test_a_saved_folder_gives_the_names_of_its_classes(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="its package is installed for benchmarks alone")
    label, tag = datasets.ClassLabel(names=["no", "yes"]), datasets.ClassLabel(names=["O", "B-LOC"])
    features = datasets.Features({"label": label, "tags": datasets.List(tag), "count": datasets.Value("int64")})
    content = {"label": [1, 0, -1, None], "tags": [[0, 1], [], [1], None], "count": [1, 0, 1, 0]}
    datasets.Dataset.from_dict(content, features=features).save_to_disk(tmp_path / "saved")
    (found,) = [file for file in files(str(tmp_path / "saved")) if file.uri.endswith(".arrow")]
    assert [row for _, row in read(found, "arrow-folder")] == [
        {"label": "yes", "tags": ["O", "B-LOC"], "count": 1},
        {"label": "no", "tags": [], "count": 0},
        {"label": None, "tags": ["B-LOC"], "count": 1},
        {"label": None, "tags": None, "count": 0},
    ]
