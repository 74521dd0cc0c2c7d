"""Sentences in their documents: which words stand around a row, however its file is cut, and in no other split."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builds import SPLITS, jsonl, rows_on_disk
from hypothesis import given
from hypothesis import strategies as st

from gb_ray.corpus.build import build
from gb_ray.corpus.plan import Plan, prepare
from gb_ray.corpus.section import CorpusSection
from gb_ray.corpus.sources.formats import parquet
from gb_ray.corpus.stages import bucket, read, tables
from gb_ray.corpus.stages.split import ByHash
from gb_ray.progress import Progress
from gb_ray.section import UserError
from gb_ray.tasks.section import TokenClassificationSection
from gb_ray.tasks.task import make

TELEPHONE = "+41446681800"
Row = dict[str, Any]


def sentence(words: str, document: Any = "d", **keys: Any) -> Row:
    tokens = words.split()
    return {"tokens": tokens, "tags": ["O"] * len(tokens), "doc": document, **keys}


def plan_of(
    sources: list[Row], context: int = 3, backbone: Path | None = None, document: str | None = "doc", **keys: Any
) -> Plan:
    section = CorpusSection.model_validate({"sources": sources, **keys})
    task = TokenClassificationSection(type="token-classification", context=context, document=document)
    return prepare("it", "entities", section, make(task, str(backbone), 32), backbone or Path("unused"))


def parts(plan: Plan, folder: Path) -> Iterator[Path]:
    """What the first stage writes."""
    for number, piece in enumerate(plan.sources[0].pieces(whole_files=plan.encoder.context > 0)):
        place = folder / str(number)
        place.mkdir()
        read.read(read.Reading(plan.sources[0], piece, plan.encoder, plan.section, "code"), place)
        yield from sorted(place.glob("part-*.arrow"))


def cleaned(plan: Plan) -> list[Row]:
    """The cleaned rows of the one source, in order of their file."""
    with tempfile.TemporaryDirectory() as folder:
        found = [row for part in parts(plan, Path(folder)) for row in tables.read(part).to_pylist()]
    return sorted(found, key=lambda row: row["row"])


def around(rows: list[Any], folder: Path, context: int = 3, **keys: Any) -> list[str]:
    """Each sentence of a file between the words around it."""
    source = {"uri": str(jsonl(folder / "rows.jsonl", rows)), "split": "train"} | keys.pop("source", {})
    found = cleaned(plan_of([source], context, **keys))
    return [" ".join([*row["before"], "<", *row["tokens"], ">", *row["after"]]) for row in found]


def test_the_words_of_the_rows_beside_it_stand_around_a_row(tmp_path: Path) -> None:
    rows = [sentence("a b"), sentence("c"), sentence("d e f g")]
    assert around(rows, tmp_path) == ["< a b > c d e", "a b < c > d e f", "a b c < d e f g >"]


def test_words_of_another_document_do_not(tmp_path: Path) -> None:
    rows = [sentence("a", 1), sentence("b", 1), sentence("c", 2), sentence("d", 2), sentence("e", 1)]
    assert around(rows, tmp_path) == ["< a > b", "a < b >", "< c > d", "c < d >", "< e >"]
    assert around(rows, tmp_path, document=None)[2] == "a b < c > d e"


def test_a_row_of_no_document_is_quarantined(tmp_path: Path) -> None:
    assert around([sentence("a"), sentence("b", None), sentence("c", "")], tmp_path) == ["< a >"]


@pytest.mark.parametrize(
    "bad", ["{not json", {"doc": "d"}, sentence(""), sentence("x") | {"tags": []}, sentence("x y z " * 9)]
)
def test_no_row_sees_one_that_is_left_out_or_what_is_beyond_it(bad: Any, tmp_path: Path) -> None:
    rows = [sentence("a"), sentence("b"), bad, sentence("c"), sentence("d")]
    assert around(rows, tmp_path, clean={"max_chars": 40}) == ["< a > b", "a < b >", "< c > d", "c < d >"]


def test_rows_that_are_filtered_are_as_if_they_were_not_there(tmp_path: Path) -> None:
    rows = [sentence("a", use="yes"), sentence("x", use="no"), sentence("b", use="yes")]
    assert around(rows, tmp_path, source={"where": {"use": "yes"}}) == ["< a > b", "a < b >"]


def test_what_is_masked_or_folded_in_a_row_is_so_around_the_rows_beside_it(tmp_path: Path) -> None:
    rows = [sentence("a"), sentence(f"{TELEPHONE} e\u0301"), sentence("b")]
    found = around(rows, tmp_path, clean={"personal": True})
    assert "é" in found[1] and not any(TELEPHONE in line or "e\u0301" in line for line in found)
    masked = found[1].split()[2]
    assert found == [f"< a > {masked} é b", f"a < {masked} é > b", f"a {masked} é < b >"]


def test_a_sentence_that_comes_again_elsewhere_is_a_duplicate_without_a_conflict(tmp_path: Path) -> None:
    uri = str(jsonl(tmp_path / "rows.jsonl", [sentence("a", 1), sentence("b", 1), sentence("b", 2), sentence("c", 2)]))
    plan = plan_of([{"uri": uri, "split": "train"}])
    found = [bucket.Part(part, 0) for part in parts(plan, tmp_path)]
    (tmp_path / "bucket").mkdir()
    merged = bucket.merge(bucket.Bucket(0, 1, found, plan.encoder, ByHash(0, 0, 0, False)), tmp_path / "bucket")
    assert (merged["rows"], merged["duplicates"], merged["conflicting"]) == (3, 1, 0)


def expected(rows: list[Row | None], context: int) -> list[tuple[list[str], list[str]]]:
    """By looking at the whole file for each row. None: it is left out."""
    found = []
    for place, row in enumerate(rows):
        if row is None:
            continue
        before: list[str] = []
        after: list[str] = []
        for words, beside in ((before, rows[:place][::-1]), (after, rows[place + 1 :])):
            for other in beside:
                if other is None or other["doc"] != row["doc"]:
                    break
                words[:] = other["tokens"] + words if words is before else words + other["tokens"]
        found.append((before[-context:], after[:context]))
    return found


documents = st.lists(
    st.none() | st.tuples(st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=4), st.sampled_from("xy")),
    min_size=1,
    max_size=40,
)


@given(drawn=documents, context=st.integers(1, 9), chunk=st.integers(1, 7), size=st.integers(1, 300))
def test_neither_chunks_nor_pieces_of_a_file_change_what_stands_around_a_row(
    drawn: list[Any], context: int, chunk: int, size: int
) -> None:
    rows = [None if one is None else sentence(" ".join(one[0]), one[1]) for one in drawn]
    table = pa.Table.from_pylist(
        [row or sentence("left out", None) for row in rows],
        pa.schema({"tokens": pa.list_(pa.string()), "tags": pa.list_(pa.string()), "doc": pa.string()}),
    )
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(read, "CHUNK_ROWS", chunk)
        patch.setattr(parquet, "PARQUET_PIECE_BYTES", size)
        pq.write_table(table, Path(folder) / "rows.parquet", row_group_size=5)
        plan = plan_of([{"uri": f"{folder}/rows.parquet", "split": "train"}], context)
        found = cleaned(plan)
    assert [row["row"] for row in found] == [place for place, row in enumerate(rows) if row]
    assert [(row["before"], row["after"]) for row in found] == expected(rows, context)


@pytest.mark.parametrize(
    ("splits", "document"),
    [
        ({}, "doc"),
        ({"by": "stratified"}, None),
        ({"by": "time", "column": "doc"}, "doc"),
        ({"by": "group", "column": "other"}, "doc"),
        ({"by": "group", "column": "doc"}, None),
    ],
)
def test_rows_of_one_document_may_not_come_into_several_splits(
    splits: Row, document: str | None, tmp_path: Path
) -> None:
    uri = str(jsonl(tmp_path / "rows.jsonl", [sentence("a", other=1)]))
    with pytest.raises(UserError) as refused:
        plan_of([{"uri": uri}], document=document, splits=splits)
    said, name = str(refused.value), document or "COLUMN"
    assert said.startswith(f"{uri}: tasks.entities.context: ") and "`split`" in said
    assert f"corpus.splits: {{by: group, column: {name}}} with tasks.entities.document: {name}" in said
    plan_of([{"uri": uri}], context=0, document=None, splits=splits)
    plan_of([{"uri": uri, "split": "train"}], document=document, splits=splits)
    plan_of([{"uri": uri}], splits={"by": "group", "column": "doc"})


def test_a_group_is_called_as_the_source_calls_the_document(tmp_path: Path) -> None:
    uri = str(jsonl(tmp_path / "rows.jsonl", [sentence("a", article=1)]))
    source = {"uri": uri, "columns": {"doc": "article"}}
    plan_of([source], splits={"by": "group", "column": "article"})
    with pytest.raises(UserError, match=r"column: article}"):
        plan_of([source], splits={"by": "group", "column": "doc"})
    with pytest.raises(UserError, match="not composed"):
        plan_of([{"uri": uri, "compose": {"doc": "{article}"}}], splits={"by": "group", "column": "doc"})


def test_without_context_a_row_is_read_as_it_was(tmp_path: Path) -> None:
    uri = str(jsonl(tmp_path / "rows.jsonl", [sentence("a"), sentence("b")]))
    plan = plan_of([{"uri": uri}], context=0, document=None)
    assert {"before", "after"}.isdisjoint(cleaned(plan)[0])
    assert {"context", "document"}.isdisjoint(plan.encoding)


def test_no_sample_has_a_word_of_a_document_in_another_split(ray_up: str, backbone: Path, tmp_path: Path) -> None:
    rows = [sentence(f"d{document} s{i}", document) for document in range(40) for i in range(5)]
    rows[7]["tags"][0] = "B-LOC"
    splits = {"by": "group", "column": "doc", "validation": 0.2}
    plan = plan_of([{"uri": str(jsonl(tmp_path / "r.jsonl", rows))}], 32, backbone, splits=splits, lanes=2)
    corpus = build(plan, tmp_path / "home", Progress())
    found = {split: rows_on_disk(corpus, split) for split in SPLITS}
    documents = {split: {row["tokens"][0] for row in of} for split, of in found.items()}
    assert all(documents.values()) and sum(map(len, documents.values())) == 40
    for of in found.values():
        for row in of:
            assert {word for word in row["before"] + row["after"] if word[0] == "d"} == {row["tokens"][0]}
            assert len(row["before"]) + len(row["after"]) == 8
            assert sum(label >= 0 for label in row["label"]) == 2 < len(row["label"])
