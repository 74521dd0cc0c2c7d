"""Sources: what cannot be used is refused before any work, and every row comes out with its number or its reason."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_ray.corpus.encoder import Reject
from gb_ray.corpus.section import Source
from gb_ray.corpus.sources.source import OpenSource, open_source
from gb_ray.section import UserError

PACKAGED = "pypi:sdgclassification-benchmark/sdgclassification/benchmark/resources/benchmark.csv"


def source_of(path: Path, columns: list[str] | None = None, **keys: Any) -> OpenSource:
    return open_source(Source(uri=str(path), **keys), columns or ["text"], None)


def rows(source: OpenSource) -> list[tuple[int, Any]]:
    return [entry for piece in source.pieces() for entry in source.rows(piece)]


def file_of(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def outcomes(source: OpenSource) -> list[tuple[int, Any]]:
    """(number, the row's text or the reason)."""
    return [(n, str(row) if isinstance(row, Reject) else row["text"]) for n, row in rows(source)]


def parquet(path: Path, rows: int = 50) -> Path:
    pq.write_table(pa.table({"text": [f"t{i}" for i in range(rows)], "label": ["a"] * rows}), path)
    return path


def truncated(folder: Path) -> Path:
    path = parquet(folder / "t.parquet")
    path.write_bytes(path.read_bytes()[:-20])
    return path


def a_folder(folder: Path) -> Path:
    (folder / "d.csv").mkdir()
    return folder / "d.csv"


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda d: d / "absent.csv", "nothing there"),
        (lambda d: file_of(d, "empty.csv", ""), "the file is empty"),
        (a_folder, "no file there"),
        (truncated, "not a whole parquet file"),
        (lambda d: file_of(d, "x.parquet", "text\nhello\n"), "not a whole parquet file"),
        (lambda d: file_of(d, "x.pdf", "text\nhello\n"), "unknown format '.pdf'"),
        (lambda d: file_of(d, "x", "text\nhello\n"), "unknown format ''"),
        (lambda d: file_of(d, "x.csv", "body,label\nhello,a\n"), "no column 'text'; the file has body, label"),
        (lambda d: file_of(d, "x.csv", "text,label\n"), "not one readable csv row"),
        (lambda d: file_of(d, "x.csv", "text,text\na,b\n"), "two columns are named 'text'"),
        (lambda d: file_of(d, "x.csv", 'text,"lab\na,b\n'), "its first line is no header"),
        (lambda d: file_of(d, "x.jsonl", "[1]\n{\n"), "not one readable jsonl row"),
        (lambda d: file_of(d, "x.jsonl", '{"body": 1}\n'), "no column 'text'"),
        (lambda d: parquet(d / "x.parquet").rename(d / "y.csv"), ": "),
    ],
)
def test_an_unusable_source_is_refused_by_name(make: Callable[[Path], Path], expected: str, tmp_path: Path) -> None:
    path = make(tmp_path)
    with pytest.raises(UserError) as caught:
        source_of(path)
    assert str(path) in str(caught.value)
    assert expected in str(caught.value)


def test_a_column_of_the_filter_must_be_there_too(tmp_path: Path) -> None:
    path = file_of(tmp_path, "x.csv", "text\nhello\n")
    with pytest.raises(UserError, match="no column 'lang'"):
        source_of(path, where={"lang": "en"})


def test_the_digest_is_that_of_the_bytes_and_another_is_refused(tmp_path: Path) -> None:
    path = file_of(tmp_path, "x.csv", "text\nhello\n")
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    assert source_of(path, sha256=right).listed()[0].fingerprint == right
    with pytest.raises(UserError, match=f"sha256 is {right}, the recipe expects {'0' * 64}"):
        source_of(path, sha256="0" * 64)


def test_the_format_may_be_given_and_is_taken_from_the_name_in_any_case(tmp_path: Path) -> None:
    assert source_of(file_of(tmp_path, "x.TXT", "text\na\n"), format="csv").files[0].input.format == "csv"
    assert source_of(file_of(tmp_path, "x.CSV", "text\na\n")).files[0].input.format == "csv"
    assert source_of(file_of(tmp_path, "x.ndjson", '{"text": "a"}\n')).files[0].input.format == "jsonl"


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("pypi:no-such-distribution-at-all/x.csv", "the package is not installed; run: pip install"),
        ("pypi:pyyaml", "expected pypi:DIST/path"),
        ("pypi:pyyaml/", "expected pypi:DIST/path"),
        ("pypi:/yaml/x.csv", "expected pypi:DIST/path"),
        ("pypi:pyyaml/../x.csv", "expected pypi:DIST/path"),
        ("pypi:pyyaml//etc/hostname", "expected pypi:DIST/path"),
        ("pypi:pyyaml/yaml/absent.csv", "nothing there"),
    ],
)
def test_a_wrong_address_in_a_package_is_refused_by_name(uri: str, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        open_source(Source(uri=uri), ["text"], None)
    assert str(caught.value).startswith(f"{uri}: {expected}")


def test_a_package_is_read_and_never_imported() -> None:
    code = f"""
import sys
from gb_ray.corpus.section import Source
from gb_ray.corpus.sources.source import open_source
source = open_source(Source(uri={PACKAGED!r}), ["text", "sdg"], None)
assert sum(1 for piece in source.pieces() for _ in source.rows(piece)) > 1000
print([name for name in sys.modules if name.startswith("sdgclassification")])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if "is not installed" in done.stderr:
        pytest.skip("the package with the data is not installed")
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_csv_one_bad_row_costs_one_row(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbftext,label\nplain,a\n\xff\xfe,a\nshort\nlong,a,b\n"two\nlines, one value",a\n"quote""d",a\n'
    found = outcomes(source_of(file_of(tmp_path, "x.csv", content)))
    assert found == [
        (0, "plain"),
        (1, "\udcff\udcfe"),
        (2, "1 values for 2 columns"),
        (3, "3 values for 2 columns"),
        (4, "two\nlines, one value"),
        (5, 'quote"d'),
    ]


def test_csv_a_quote_that_is_never_closed_is_no_value(tmp_path: Path) -> None:
    """The rest of the file would come as one text."""
    found = outcomes(source_of(file_of(tmp_path, "x.csv", 'label,text\na,one\na,"two\na,three\na,four\n')))
    assert found == [(0, "one"), (1, "not CSV: unexpected end of data")]


def test_csv_text_after_a_closing_quote_costs_one_row(tmp_path: Path) -> None:
    found = outcomes(source_of(file_of(tmp_path, "x.csv", 'text,label\n"a"b,x\nnext,x\n')))
    assert found[0][1].startswith("not CSV: ")
    assert found[1:] == [(1, "next")]


def test_csv_a_document_of_a_million_characters_is_a_row(tmp_path: Path) -> None:
    path = file_of(tmp_path, "x.csv", f"text,label\n{'word ' * 200_000},a\nnext,a\n")
    assert [len(text) for _, text in outcomes(source_of(path))] == [1_000_000, 4]


def test_jsonl_one_bad_line_costs_one_line(tmp_path: Path) -> None:
    good = json.dumps({"text": "plain"}).encode()
    lines = [b"\xef\xbb\xbf" + good, b"{", b"[1, 2]", b'"text"', b"", good, b'{"text": "\xff"}', b"[" * 100_000, good]
    found = outcomes(source_of(file_of(tmp_path, "x.jsonl", b"\n".join(lines))))
    assert found == [
        (0, "plain"),
        (1, "not JSON"),
        (2, "not a JSON object"),
        (3, "not a JSON object"),
        (5, "plain"),
        (6, "not UTF-8"),
        (7, "not JSON"),
        (8, "plain"),
    ]


def test_parquet_bytes_that_are_no_text_cost_one_row(tmp_path: Path) -> None:
    texts = [f"t{i}".encode() for i in range(3000)]
    texts[7] = texts[2048] = b"\xff\xfe"
    column = pa.Array.from_buffers(pa.string(), 3000, pa.array(texts, pa.binary()).buffers())
    pq.write_table(pa.table({"text": column}), tmp_path / "x.parquet")
    found = outcomes(source_of(tmp_path / "x.parquet"))
    assert [n for n, _ in found] == list(range(3000))
    assert {n for n, text in found if text == "not UTF-8"} == {7, 2048}
    assert all(text == f"t{n}" for n, text in found if n not in (7, 2048))


@pytest.mark.parametrize(
    ("text", "where", "kept"),
    [
        ("True", True, True),
        ("true ", True, True),
        ("False", True, False),
        ("3", 3, True),
        ("3", 4, False),
        ("fra", ["eng", "fra"], True),
        ("deu", ["eng", "fra"], False),
    ],
)
def test_a_filter_reads_the_text_of_csv_as_the_recipes_value(text: str, where: Any, kept: bool, tmp_path: Path) -> None:
    source = source_of(file_of(tmp_path, "x.csv", f"text,flag\nhello,{text}\n"), where={"flag": where})
    assert [source.wanted(row) for _, row in rows(source) if isinstance(row, dict)] == [kept]


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=20)


@given(st.lists(TEXT, min_size=1, max_size=20))
def test_all_formats_give_the_same_rows(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    import csv

    folder = tmp_path_factory.mktemp("formats")
    with (folder / "x.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["text", "label"], *([text, "a"] for text in texts)])
    lines = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
    (folder / "x.jsonl").write_text(lines, encoding="utf-8", newline="")
    pq.write_table(pa.table({"text": texts}), folder / "x.parquet")
    for name in ("x.csv", "x.jsonl", "x.parquet"):
        assert outcomes(source_of(folder / name)) == list(enumerate(texts)), name
