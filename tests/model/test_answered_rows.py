"""Rows with a model's answers: counted, in order, and ready to be learnt from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_ray.corpus.section import Source
from gb_ray.corpus.sources.source import open_source
from gb_ray.model import rows
from gb_ray.model.predictor import Predictor
from gb_ray.section import UserError
from gb_ray.tasks.section import RegressionSection, SequenceClassificationSection
from gb_ray.tasks.task import make
from gb_ray.tasks.token_classification import TokenClassification

WORDS = ["grid", "solar", "don't", "river", "7", "नर्स", "clinic", ",", "  ", "xyzzy", "(wind)"]


@pytest.fixture(scope="module")
def topics(exported: dict[str, Path]) -> Predictor:
    return Predictor(exported["topics"])


@pytest.fixture(scope="module")
def entities(exported: dict[str, Path]) -> Predictor:
    return Predictor(exported["entities"])


def answered(predictor: Predictor, file: Path, **asked: Any) -> tuple[rows.Tally, list[dict[str, Any]]]:
    """What became of the rows of a file, and those with answers."""
    out = file.with_name("out.jsonl")
    tally = rows.write(predictor, open_source(Source(uri=str(file), **asked), ["text"], None), "text", out)
    return tally, [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


def test_rows_come_in_their_order_with_what_predict_answers(
    exported: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = Predictor(exported["vectors"])
    monkeypatch.setattr(rows, "CHUNK_ROWS", 16)
    monkeypatch.setattr(rows, "BATCH_TOKENS", 64)
    given = [{"text": " ".join(["grid", "river", "nurse"][: 1 + i % 3] * (1 + i % 7)), "number": i} for i in range(50)]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in given))
    tally, found = answered(vectors, file)
    expected = [vectors.predict(vectors.encode([row["text"]]))[0]["embedding"] for row in given]
    assert [row.pop("embedding") for row in found] == [pytest.approx(vector, abs=1e-5) for vector in expected]
    assert expected[0] != pytest.approx(expected[1], abs=1e-3)
    assert found == [row | {"query": row["text"]} for row in given]
    assert (tally.read, tally.filtered, tally.answered, tally.left_out.total()) == (50, 0, 50, 0)


def test_every_row_is_counted_and_told_why_it_is_left_out(topics: Predictor, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    given = [{"text": text, "lang": "en"} for text in ("wind", None, " ", 7, "a\x00b")]
    lines = [*map(json.dumps, given), "{", json.dumps({"text": "vent", "lang": "fr"}), json.dumps({"lang": "en"})]
    file.write_text("\n".join(lines) + "\n")
    tally, found = answered(topics, file, where={"lang": "en"})
    assert [row["text"] for row in found] == ["wind"]
    assert (tally.read, tally.filtered, tally.answered) == (8, 1, 1)
    reasons = {"text is null": 2, "text is empty": 1, "text is int, expected text": 1, "text has a NUL character": 1}
    assert {why: count for why, count in tally.left_out.items() if why.startswith("text")} == reasons
    assert tally.left_out.total() == 6
    assert tally.shown[0] == f"{file}: row 1: text is null"


@given(words=st.lists(st.sampled_from(WORDS), min_size=1, max_size=30))
def test_what_is_learnt_of_a_row_is_what_was_answered(entities: Predictor, words: list[str]) -> None:
    """The same tokens, and on each word's first one the tag that the model gave it."""
    text = " ".join(words)
    (encoded,) = entities.encode([text])
    if not any(start < end for start, end in encoded.places[0]):
        return
    (row,) = entities.rows([encoded])
    task = entities.tasks["entities"]
    assert isinstance(task, TokenClassification)
    fields = task.clean(row)
    assert fields["tokens"] == row["tokens"]
    labels = entities.labels["entities"]
    sample = task.encode([fields], labels)
    assert sample["input_ids"][0].as_py() == encoded.input_ids
    assert [labels[i] for i in sample["label"][0].as_py() if i >= 0] == row["tags"]
    found = [text[entity["start"] : entity["end"]] for entity in entities.predict([encoded])[0]["entities"]]
    taught: list[str] = []
    for word, tag in zip(row["tokens"], row["tags"], strict=True):
        taught += [word] if tag.startswith("B-") else []
        taught[-1:] = [taught[-1] + word] if tag.startswith("I-") else taught[-1:]
    assert taught == ["".join(span.split()) for span in found]


def test_words_beyond_max_tokens_are_left_out_and_not_taught_as_no_entity(entities: Predictor) -> None:
    (row,) = entities.rows(entities.encode(["grid " * 100]))
    assert row["tokens"] == ["grid"] * 30  # of 32 tokens two are special
    assert "O" not in row["tags"]


@pytest.mark.parametrize(
    ("section", "answer", "expected"),
    [
        (
            SequenceClassificationSection(type="sequence-classification", multi_label=True, label="goals"),
            {"labels": ["a", "b"], "probabilities": {}},
            {"text": "wind", "goals": ["a", "b"]},
        ),
        (
            RegressionSection(type="regression", targets=["load", "price"]),
            {"values": {"load": 1.5, "price": 2.0}},
            {"text": "wind", "load": 1.5, "price": 2.0},
        ),
    ],
)
def test_the_task_takes_the_row(section: Any, answer: Any, expected: dict[str, Any], backbone: Path) -> None:
    task = make(section, str(backbone), 32)
    row = task.row("wind", [], answer)
    assert row == expected
    task.clean(row)


def test_a_column_with_the_name_of_an_answer_is_refused_and_nothing_is_left(topics: Predictor, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"text": "wind", "label": "energy"}) + "\n")
    with pytest.raises(UserError, match="a column 'label', where the answers would be; leave it out of the file"):
        answered(topics, file)
    assert [one.name for one in tmp_path.iterdir()] == ["rows.jsonl"]


def test_rows_without_one_text_are_refused(topics: Predictor, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"text": " "}) + "\n")
    with pytest.raises(UserError, match=r"no row with a text in 'text' \(1 read, 0 filtered, 1 text is empty\)"):
        answered(topics, file)


def test_a_value_without_a_form_in_json_is_refused_and_a_time_is_written_as_text(
    topics: Predictor, tmp_path: Path
) -> None:
    import datetime

    import pyarrow as pa
    import pyarrow.parquet as pq

    when = datetime.datetime(2020, 1, 2, 3, 4)
    pq.write_table(pa.table({"text": ["wind"], "when": [when]}), tmp_path / "times.parquet")
    _, (row,) = answered(topics, tmp_path / "times.parquet")
    assert row["when"] == "2020-01-02T03:04:00"
    pq.write_table(pa.table({"text": ["wind"], "picture": [b"\x00"]}), tmp_path / "bytes.parquet")
    with pytest.raises(UserError, match="a value is bytes"):
        answered(topics, tmp_path / "bytes.parquet")
