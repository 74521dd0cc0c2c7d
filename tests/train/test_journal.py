"""What training writes down: one whole line a step, and every second in one category."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_ray.train.journal import CATEGORIES, Attempt, Journal, goodput

SECONDS = st.fixed_dictionaries({name: st.floats(0, 1000) for name in CATEGORIES if name != "lost"})


def account(first: int, last: int, **seconds: float) -> dict[str, Any]:
    return {"first": first, "last": last, "seconds": seconds}


def written(folder: Path, attempts: list[dict[str, Any]]) -> Path:
    folder.mkdir(exist_ok=True)
    for number, attempt in enumerate(attempts, 1):
        (folder / f"{number:04d}.json").write_text(json.dumps(attempt))
    return folder


@st.composite
def histories(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Attempts that each start at or before the step after the last one."""
    attempts: list[dict[str, Any]] = []
    reached = -1
    for _ in range(draw(st.integers(1, 5))):
        first = draw(st.integers(0, reached + 1))
        reached = draw(st.integers(first, first + 30))
        attempts.append({"first": first, "last": reached, "seconds": draw(SECONDS)})
    return attempts


@given(histories())
def test_no_second_is_lost_or_counted_twice(
    tmp_path_factory: pytest.TempPathFactory, attempts: list[dict[str, Any]]
) -> None:
    spent = goodput(written(tmp_path_factory.mktemp("attempts"), attempts))
    assert set(spent) == set(CATEGORIES)
    assert all(seconds >= 0 for seconds in spent.values())
    assert sum(spent.values()) == pytest.approx(sum(sum(a["seconds"].values()) for a in attempts), abs=0.05)


@given(histories())
def test_what_is_kept_is_the_share_of_steps_that_no_later_attempt_did_again(
    tmp_path_factory: pytest.TempPathFactory, attempts: list[dict[str, Any]]
) -> None:
    for attempt in attempts:
        attempt["seconds"] = {"compute": float(attempt["last"] + 1 - attempt["first"])}  # a second a step
    spent = goodput(written(tmp_path_factory.mktemp("attempts"), attempts))
    kept = 0
    for number, attempt in enumerate(attempts):
        again = {step for later in attempts[number + 1 :] for step in range(later["first"], 1000)}
        kept += len(set(range(attempt["first"], attempt["last"] + 1)) - again)
    assert spent["compute"] == pytest.approx(kept, abs=0.02)


def test_steps_that_were_done_again_are_lost_but_saving_and_starting_are_not(tmp_path: Path) -> None:
    first = account(0, 9, start=5, data=10, compute=100, checkpoint=3)
    folder = written(tmp_path, [first, account(6, 19, start=2, compute=50)])
    assert goodput(folder) == {
        "start": 7,
        "data": 6,
        "compute": 110,
        "checkpoint": 3,
        "export": 0,
        "lost": 44,
    }


def test_an_attempt_that_went_further_back_costs_the_ones_before_the_last_too(tmp_path: Path) -> None:
    """The second attempt went on at 8; then its checkpoint did not verify and the third went back to 2."""
    folder = written(tmp_path, [account(0, 9, compute=10), account(8, 9, compute=2), account(2, 9, compute=8)])
    assert goodput(folder) == dict.fromkeys(CATEGORIES, 0.0) | {"compute": 10, "lost": 10}


def test_a_run_without_attempts_spent_nothing(tmp_path: Path) -> None:
    assert goodput(tmp_path) == dict.fromkeys(CATEGORIES, 0.0)


def test_each_attempt_accounts_for_itself_from_its_start_to_its_last_step(tmp_path: Path) -> None:
    for first, last in ((0, 3), (2, 5)):
        attempt = Attempt(tmp_path / "attempts", time.time() - 2)
        for step in range(first, last + 1):
            with attempt.spends("compute"):
                time.sleep(0.01)
            attempt.at(step)
        attempt.write()
    files = sorted((tmp_path / "attempts").iterdir())
    accounts = [json.loads(file.read_text()) for file in files]
    assert [file.name for file in files] == ["0001.json", "0002.json"]
    assert [(a["first"], a["last"]) for a in accounts] == [(0, 3), (2, 5)]
    assert all(2 <= a["seconds"]["start"] < 4 and 0.04 <= a["seconds"]["compute"] < 1 for a in accounts)


def test_the_seconds_of_a_block_that_failed_count(tmp_path: Path) -> None:
    attempt = Attempt(tmp_path / "attempts", time.time())
    with pytest.raises(KeyError), attempt.spends("data"):
        time.sleep(0.02)
        raise KeyError
    attempt.at(0)
    attempt.write()
    assert goodput(tmp_path / "attempts")["data"] >= 0.02


def test_a_step_is_on_disk_as_soon_as_it_is_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "metrics.jsonl")
    journal.write(3, {"loss": 0.5})
    line = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert (line["step"], line["metrics"]) == (3, {"loss": 0.5})


def test_a_torn_last_line_swallows_no_later_step(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    Journal(path).write(0, {"loss": 1.0})
    with path.open("a") as file:
        file.write('{"step": 1, "ti')
    again = Journal(path)
    again.write(1, {"loss": 0.9})
    again.write(2, {"loss": 0.8})
    lines = path.read_text().splitlines()
    assert lines[1] == '{"step": 1, "ti'
    assert [json.loads(lines[i])["step"] for i in (0, 2, 3)] == [0, 1, 2]


def test_a_whole_last_line_is_followed_by_no_empty_one(tmp_path: Path) -> None:
    for step in range(3):
        Journal(tmp_path / "metrics.jsonl").write(step, {})
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [0, 1, 2]
