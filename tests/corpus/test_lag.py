"""Columns with what was before: by time, within one series, whatever the files look like."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gb_ray.corpus.build import build
from gb_ray.corpus.encoder import Reject
from gb_ray.corpus.plan import prepare
from gb_ray.corpus.reading.reader import Reader
from gb_ray.corpus.section import CorpusSection, Lag, Source
from gb_ray.corpus.sources.formats import parquet
from gb_ray.corpus.sources.lag import Lags
from gb_ray.corpus.sources.moment import moment
from gb_ray.corpus.sources.source import OpenSource, open_source
from gb_ray.corpus.stages.read import LEFT_OUT, Reading, read
from gb_ray.corpus.stages.tables import read as table_of
from gb_ray.progress import Progress
from gb_ray.section import UserError
from gb_ray.tasks.regression import Regression
from gb_ray.tasks.section import RegressionSection

DAY = 86400
START = datetime(2020, 10, 24, tzinfo=UTC)
YESTERDAY = {"yesterday": {"column": "load", "by": "time", "back": DAY}}
COLUMNS = ["text", "load", "yesterday"]
COMPOSE = {"text": "A day before {yesterday:.1f}."}


def days(loads: list[Any], **also: Any) -> list[dict[str, Any]]:
    return [{"time": START + timedelta(days=n), "load": load, **also} for n, load in enumerate(loads)]


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, default=lambda time: time.isoformat()) + "\n" for row in rows))
    return path


def source_of(path: Path, **keys: Any) -> OpenSource:
    return open_source(Source.model_validate({"uri": str(path), "lags": YESTERDAY, **keys}), ["load"], None)


def lagged(source: OpenSource) -> list[dict[str, Any]]:
    """All wanted rows with their lags, each piece read as a task of its own reads it."""
    found = []
    for piece in source.pieces():
        lags = Lags.of(source)
        found += [lags.added(row) for _, row in source.rows(piece) if isinstance(row, dict) and source.wanted(row)]
    return found


@given(st.data())
@settings(max_examples=30)
def test_a_lag_is_what_a_look_through_all_rows_finds_whatever_the_pieces(data: st.DataObject) -> None:
    times = data.draw(st.lists(st.integers(0, 30), min_size=1, max_size=30, unique=True))
    loads = data.draw(st.lists(st.none() | st.floats(-9, 9), min_size=len(times), max_size=len(times)))
    back, files = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 4))
    rows = [{"at": at, "load": load, "pid": 1} for at, load in zip(times, loads, strict=True)]
    noise = [{"at": row["at"], "load": 99.0, "pid": 2} for row in rows]
    lag = {"before": {"column": "load", "by": "at", "back": back}}
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "PARQUET_PIECE_BYTES", data.draw(st.integers(50, 5000)))
        for number in range(files):
            mine = rows[number::files] + noise[number::files]
            if mine:
                pq.write_table(pa.Table.from_pylist(mine), Path(folder) / f"{number}.parquet")
        found = lagged(source_of(Path(folder), lags=lag, where={"pid": 1}))
    known = {row["at"]: row["load"] for row in rows}
    assert sorted((row["at"], str(row["before"])) for row in found) == sorted(
        (at, str(known.get(at - back))) for at in times
    )


@pytest.mark.parametrize(
    "time",
    [
        lambda at: at,
        lambda at: at.isoformat(),
        lambda at: at.strftime("%Y-%m-%d %H:%M"),
        lambda at: at.strftime("%Y-%m-%d"),
        lambda at: at.timestamp(),
        lambda at: str(int(at.timestamp())),
    ],
)
def test_times_in_every_form_are_seconds(tmp_path: Path, time: Any) -> None:
    rows = [{"time": time(row["time"]), "load": row["load"]} for row in days([1.5, 2.5, 3.5])]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "f.parquet")
    assert [row["yesterday"] for row in lagged(source_of(tmp_path))] == [None, 1.5, 2.5]


def test_a_time_means_the_same_as_date_time_and_text() -> None:
    """As splits by time have it."""
    assert {moment(value, "t") for value in (START, START.isoformat(), "2020-10-24", START.date())} == {1603497600.0}
    for value, reason in (("soon", "not a time"), (None, "missing"), ("", "missing"), (float("nan"), "not a time")):
        with pytest.raises(Reject, match=reason):
            moment(value, "t")


def test_numbers_that_have_no_exact_form_are_found(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "f.jsonl", [{"at": n / 10, "load": n} for n in range(20)])
    lags = {"before": {"column": "load", "by": "at", "back": 0.1}}
    assert [row["before"] for row in lagged(source_of(path, lags=lags))] == [None, *range(19)]


def test_a_gap_a_null_and_a_row_out_of_the_series_give_null(tmp_path: Path) -> None:
    rows = days([1, None, 3, 4, 5], pid=1)
    rows[3]["pid"] = 2
    found = lagged(source_of(jsonl(tmp_path / "f.jsonl", rows), where={"pid": 1}))
    assert [row["yesterday"] for row in found] == [None, 1, None, None]


def test_text_of_a_file_of_text_stays_text(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["time", "load"], ["2020-10-24 00:00", "1,5"], ["2020-10-25 00:00", "2"]])
    assert lagged(source_of(path))[1]["yesterday"] == "1,5"


def test_two_rows_of_one_time_are_refused_by_file_row_and_time(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", days([1, 2]))
    jsonl(tmp_path / "b.jsonl", days([7])[:1])
    with pytest.raises(UserError) as caught:
        lagged(source_of(tmp_path))
    said = str(caught.value)
    assert said.startswith(f"{tmp_path / 'b.jsonl'}: row 0: lags: its time is 2020-10-24")
    assert f"row 0 of {tmp_path / 'a.jsonl'}" in said and "Narrow `where`" in said


def test_two_series_in_one_file_are_told_apart_by_where(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "f.jsonl", [*days([1, 2], pid=1), *days([7, 8], pid=2)])
    assert [row["yesterday"] for row in lagged(source_of(path, where={"pid": 2}))] == [None, 7]
    with pytest.raises(UserError, match="Narrow `where`"):
        lagged(source_of(path))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"lags": {"x": {"column": "laod", "by": "time", "back": 1}}}, "no column 'laod'"),
        ({"lags": {"x": {"column": "load", "by": "tiem", "back": 1}}}, "no column 'tiem'"),
        ({"lags": {"x": {"column": "yesterday", "by": "time", "back": 1}, **YESTERDAY}}, "no column 'yesterday'"),
        ({"lags": {"time": {"column": "load", "by": "time", "back": 1}}}, "'time' is a column of the file"),
        ({"where": {"yesterday": 1}}, "no column 'yesterday'"),
    ],
)
def test_lags_that_cannot_be_are_refused_before_any_work(tmp_path: Path, keys: dict[str, Any], message: str) -> None:
    path = jsonl(tmp_path / "f.jsonl", days([1.0]))
    with pytest.raises(UserError, match=message) as caught:
        source_of(path, **keys)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("back", [0, -1, float("inf"), float("nan")])
def test_what_is_not_before_is_no_lag(back: float) -> None:
    with pytest.raises(ValidationError, match="back"):
        Lag(column="load", by="time", back=back)


def reading(path: Path, number: int = 0, **keys: Any) -> Reading:
    """Of a piece of a source, by number, for a task with `last`."""
    source = Source.model_validate({"uri": str(path), "compose": COMPOSE, **keys})
    section = CorpusSection.model_validate({"sources": [source], "splits": {"by": "time", "column": "time"}})
    last = RegressionSection(type="regression", targets=["load"], last=["yesterday"])
    encoder = Regression(last, "unused", 16)
    opened = open_source(source, encoder.columns, "time")
    return Reading(opened, opened.pieces()[number], encoder, section, "code")


def test_a_row_with_a_day_before_is_a_sample_and_one_without_is_quarantined(tmp_path: Path) -> None:
    rows = [*days([1.0, 2.0, None]), {"time": None, "load": 5.0}]
    result = read(reading(jsonl(tmp_path / "f.jsonl", rows), lags=YESTERDAY), tmp_path)
    (fields,) = table_of(tmp_path / "part-0000.arrow").select(["text", "targets", "last"]).to_pylist()
    assert fields == {"text": "A day before 1.0.", "targets": [2.0], "last": [1.0]}
    assert result["reasons"] == {"yesterday is null": 1, "load is null": 1, "time is missing": 1}
    told = [json.loads(line)["row"] for line in (tmp_path / LEFT_OUT).read_text().splitlines()]
    assert sorted(told) == [0, 2, 3]


def test_a_lag_has_another_name_in_the_task(tmp_path: Path) -> None:
    lags, columns = {"before": YESTERDAY["yesterday"]}, {"yesterday": "before"}
    path = jsonl(tmp_path / "f.jsonl", days([1.0, 2.0]))
    read(reading(path, lags=lags, columns=columns, compose={"text": "{before:.1f} before"}), tmp_path)
    assert table_of(tmp_path / "part-0000.arrow").select(["text", "last"]).to_pylist() == [
        {"text": "1.0 before", "last": [1.0]}
    ]


def test_a_row_of_json_that_has_a_lags_column_after_all_is_quarantined(tmp_path: Path) -> None:
    rows = [*days([1.0] * 2000), {"time": START - timedelta(days=1), "load": 1.0, "yesterday": 3}]
    result = read(reading(jsonl(tmp_path / "f.jsonl", rows), lags=YESTERDAY), tmp_path)
    assert result["reasons"] == {"yesterday is in lags: and in the row": 1}


def test_a_piece_is_read_again_when_another_file_of_its_series_changed(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", days([1.0, 2.0]))
    other = jsonl(tmp_path / "b.jsonl", [{"time": START - timedelta(days=1), "load": 3.0}])
    before = reading(tmp_path, lags=YESTERDAY).name
    assert reading(tmp_path, lags=YESTERDAY).name == before
    jsonl(other, [{"time": START - timedelta(days=1), "load": 4.0}])
    assert reading(tmp_path, lags=YESTERDAY).name != before


def test_without_lags_a_piece_depends_on_its_own_file_alone_and_nothing_is_written_of_them(tmp_path: Path) -> None:
    columns = {"yesterday": "load"}
    compose = {"text": "{load:.1f}"}
    jsonl(tmp_path / "a.jsonl", days([1.0, 2.0]))
    other = jsonl(tmp_path / "b.jsonl", days([3.0]))
    before = reading(tmp_path, columns=columns, compose=compose).name
    jsonl(other, days([4.0]))
    assert reading(tmp_path, columns=columns, compose=compose).name == before
    assert "lags" not in Source(uri="x").model_dump(mode="json")
    assert Source.model_validate({"uri": "x", "lags": YESTERDAY}).model_dump(mode="json")["lags"] == YESTERDAY


def test_a_built_corpus_has_them_and_the_scale_is_that_of_the_targets_alone(
    tmp_path: Path, backbone: Path, ray_up: str
) -> None:
    """Two files: what was before the second one's rows is in the first, which is read by another task."""
    rows = days([float(n * n) for n in range(60)])
    (tmp_path / "files").mkdir()
    jsonl(tmp_path / "files" / "a.jsonl", rows[1::2])
    jsonl(tmp_path / "files" / "b.jsonl", rows[::2])
    source = {"uri": str(tmp_path / "files"), "lags": YESTERDAY, "compose": COMPOSE}
    section = CorpusSection.model_validate({"sources": [source], "lanes": 2})
    target = RegressionSection(type="regression", targets=["load"], last=["yesterday"])
    task = Regression(target, str(backbone), 16)
    corpus = build(prepare("loads", "load", section, task, backbone), tmp_path / "home", Progress())
    assert corpus.manifest.funnel.reasons == {"yesterday is null": 1}
    with Reader(corpus, "train", 0) as reader:
        labels = np.stack([np.asarray(sample.label) for sample in reader.once()])
    assert {tuple(label) for label in labels.tolist()} <= {(float(n * n), float((n - 1) ** 2)) for n in range(1, 60)}
    assert task.prepare(corpus).state == {
        "mean": [pytest.approx(labels[:, 0].mean())],
        "sd": [pytest.approx(labels[:, 0].std())],
    }
