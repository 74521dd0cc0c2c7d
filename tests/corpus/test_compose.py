"""Texts made of the columns of a row."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_ray.corpus.encoder import Reject
from gb_ray.corpus.section import Source
from gb_ray.corpus.sources.compose import columns_of, compose
from gb_ray.corpus.sources.source import open_source
from gb_ray.section import UserError

NOON = datetime(2020, 10, 4, 12, tzinfo=UTC)


def test_a_rows_numbers_and_times_in_words() -> None:
    row = {"temp": 11.26, "at": NOON, "wind": "7.5"}
    assert compose("{temp:.0f} degrees, {wind:.1f} m/s, a {at:%A} at {at:%H:%M}", row) == (
        "11 degrees, 7.5 m/s, a Sunday at 12:00"
    )


@pytest.mark.parametrize(
    ("spec", "cell"),
    [(".3", "12.3456"), ("02d", "7"), ("02d", "07"), (".1f", "12"), (".0%", "0.257"), (",", "12345"), ("+", "2.5")],
)
def test_a_number_reads_the_same_from_a_file_of_text_and_from_one_of_numbers(spec: str, cell: str) -> None:
    template = f"{{x:{spec}}}"
    assert compose(template, {"x": cell}) == compose(template, {"x": float(cell) if "." in cell else int(cell)})


@pytest.mark.parametrize(("spec", "cell"), [("", "007"), (">5", "  007"), ("<5", "007  "), ("*^5", "*007*")])
def test_a_text_that_is_only_placed_keeps_its_zeros(spec: str, cell: str) -> None:
    assert compose(f"{{code:{spec}}}", {"code": "007"}) == cell


def test_a_text_that_is_no_number_is_cut_where_a_template_says_so() -> None:
    assert compose("{title:.4}", {"title": "Wind and sun"}) == "Wind"


@pytest.mark.parametrize(
    ("row", "reason"),
    [({"temp": None}, "temp is null"), ({}, "temp is null"), ({"temp": "cold"}, "temp cannot be written as '.0f'")],
)
def test_a_row_without_a_value_that_is_named_is_refused(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(Reject, match=reason):
        compose("{temp:.0f}", row)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{temp", "is no template"),
        ("{}", "expected the name of a column"),
        ("{temp.__class__}", "expected the name of a column"),
        ("{temp[0]}", "expected the name of a column"),
        ("{temp:{width}}", "expected the name of a column"),
        ("cold", "names no column"),
    ],
)
def test_what_is_no_template_of_columns_is_refused(template: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        columns_of(template, "weather.csv: compose: text")


@given(st.dictionaries(st.from_regex(r"\A[a-z_]{1,8}\Z"), st.text(), min_size=1))
def test_any_cell_is_written_as_it_is(row: dict[str, str]) -> None:
    template = "|".join(f"{{{name}}}" for name in row)
    assert columns_of(template, "x") == list(row)
    assert compose(template, row) == "|".join(row.values())


def test_a_source_gives_the_task_its_columns(tmp_path: Path) -> None:
    file = tmp_path / "weather.jsonl"
    file.write_text(json.dumps({"temp": 11.26, "load": 3.5}))
    columns, text = ["text", "megawatts"], "{temp:.0f} degrees"
    source = open_source(Source(uri=str(file), compose={"text": text}, columns={"megawatts": "load"}), columns, None)
    row = source.renamed({"temp": 11.26, "load": 3.5}, columns)
    assert (row["text"], row["megawatts"]) == ("11 degrees", 3.5)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"compose": {"words": "{temp}"}}, "compose: 'words' is no column of the task"),
        ({"compose": {"text": "{wind}"}}, "no column 'wind'"),
        ({"compose": {"text": "{temp}"}, "columns": {"text": "temp"}}, "in columns: and in compose:"),
    ],
)
def test_a_source_that_cannot_is_refused_before_any_work(tmp_path: Path, keys: dict[str, Any], message: str) -> None:
    file = tmp_path / "weather.parquet"

    pq.write_table(pa.table({"temp": [11.26]}), file)
    with pytest.raises(UserError, match=message):
        open_source(Source(uri=str(file), **keys), ["text"], None)
