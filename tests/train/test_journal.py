"""What training writes down: one whole line a step, and every second in one category."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_ray.train.account.goodput import CATEGORIES, goodput, share
from gb_ray.train.account.journal import Attempt, Journal, losses, newest
from gb_ray.train.account.life import Life

INSIDE = ("start", "data", "compute", "checkpoint", "export", "other")
SECONDS = st.fixed_dictionaries({name: st.floats(0, 1000) for name in INSIDE})
GAPS = st.floats(0, 500)


def attempt(began: float, first: int | None, last: int | None, ended: bool = False, **seconds: float) -> dict[str, Any]:
    return {"began": began, "first": first, "last": last, "seconds": seconds, "ended": ended}


def life(began: float, seen: float, ended: str | None, *phases: tuple[str, float, float | None]) -> dict[str, Any]:
    return {"began": began, "seen": seen, "ended": ended, "phases": [list(phase) for phase in phases]}


def written(run: Path, attempts: list[dict[str, Any]], lives: list[dict[str, Any]] | None = None) -> Path:
    for name, accounts in (("attempts", attempts), ("lives", lives or [])):
        (run / name).mkdir(parents=True, exist_ok=True)
        for number, account in enumerate(accounts, 1):
            (run / name / f"{number:04d}.json").write_text(json.dumps(account))
    return run


def spent(**seconds: float) -> dict[str, float]:
    return dict.fromkeys(CATEGORIES, 0.0) | seconds


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[dict[str, Any]], float]:
    """Attempts and lives of a run, one after another, and the time from the first start to the last sign of life."""
    attempts: list[dict[str, Any]] = []
    lives: list[dict[str, Any]] = []
    now = start = draw(st.floats(1e9, 2e9))
    reached = -1
    for _ in range(draw(st.integers(1, 3))):
        now += 0.01 + draw(GAPS) if lives else 0.0  # nobody is there, for an instant at least
        began = now
        phases: list[tuple[str, float, float | None]] = []
        for phase in ("prepare", "before"):
            now += draw(GAPS)
            phases.append((phase, now, (now := now + draw(GAPS))))
        now += draw(GAPS)
        train = now
        for _ in range(draw(st.integers(0, 3))):
            now += draw(GAPS)
            seconds = draw(SECONDS)
            first = draw(st.one_of(st.none(), st.integers(0, reached + 1)))
            last = None if first is None else draw(st.integers(first, first + 30))
            reached = reached if last is None else last
            attempts.append(attempt(now, first, last, draw(st.booleans()), **seconds))
            now += sum(seconds.values())
        now += draw(GAPS)
        killed = draw(st.booleans())
        phases.append(("train", train, None if killed else now))
        lives.append(life(began, now, None if killed else draw(st.sampled_from(["stopped", "failed"])), *phases))
    return attempts, lives, now - start


@given(histories())
def test_no_second_is_missing_or_counted_twice(
    tmp_path_factory: pytest.TempPathFactory, history: tuple[list[dict[str, Any]], list[dict[str, Any]], float]
) -> None:
    attempts, lives, wall = history
    found = goodput(written(tmp_path_factory.mktemp("run"), attempts, lives))
    assert set(found) == set(CATEGORIES)
    assert all(seconds >= 0 for seconds in found.values())
    assert sum(found.values()) == pytest.approx(wall, abs=0.1)
    assert 0 <= share(found) <= 1


@given(histories())
def test_what_is_kept_is_the_share_of_steps_that_no_later_attempt_did_again(
    tmp_path_factory: pytest.TempPathFactory, history: tuple[list[dict[str, Any]], list[dict[str, Any]], float]
) -> None:
    attempts = [one for one in history[0] if one["first"] is not None]
    began = 0.0
    for one in attempts:
        one["began"], one["seconds"] = began, {"compute": float(one["last"] + 1 - one["first"])}  # a second a step
        began += one["seconds"]["compute"]
    found = goodput(written(tmp_path_factory.mktemp("run"), attempts))
    kept = 0
    for number, one in enumerate(attempts):
        again = {step for later in attempts[number + 1 :] for step in range(later["first"], 1000)}
        kept += len(set(range(one["first"], one["last"] + 1)) - again)
    assert found["compute"] == pytest.approx(kept, abs=0.02)


def test_steps_that_were_done_again_are_lost_but_saving_and_starting_are_not(tmp_path: Path) -> None:
    first = attempt(100, 0, 9, start=5, data=10, compute=100, checkpoint=3)
    second = attempt(230, 6, 19, start=2, compute=50)
    found = goodput(written(tmp_path, [first, second]))
    assert found == spent(start=7, data=6, compute=110, checkpoint=3, lost=44, restart=12)


def test_an_attempt_that_went_further_back_costs_the_ones_before_the_last_too(tmp_path: Path) -> None:
    """The second attempt went on at 8; then its checkpoint did not verify and the third went back to 2."""
    three = [attempt(0, 0, 9, compute=10), attempt(10, 8, 9, compute=2), attempt(12, 2, 9, compute=8)]
    assert goodput(written(tmp_path, three)) == spent(compute=10, lost=10)


def test_an_attempt_that_died_before_its_first_step_is_counted(tmp_path: Path) -> None:
    attempts = [attempt(110, None, None, start=1), attempt(150, 0, 9, start=5, compute=20, ended=True)]
    lives = [life(100, 180, "finished", ("train", 105, 178))]
    found = goodput(written(tmp_path, attempts, lives))
    # 5 s of the driver, 5 s until the workers were there, 1 s and 5 s of theirs; from 111 to 150 nothing ran; from 175
    # to 178 is their end.
    assert found == spent(start=16, restart=39, compute=20, export=3, other=2)


def test_a_driver_that_was_killed_leaves_time_away_and_one_that_was_asked_to_stop_a_pause(tmp_path: Path) -> None:
    lives = [
        life(0, 50, None, ("before", 0, 40), ("train", 40, None)),
        life(60, 100, "stopped", ("train", 60, 100)),
        life(1100, 1200, "finished", ("train", 1100, 1190), ("after", 1190, 1200)),
    ]
    attempts = [
        attempt(45, None, None, start=1),
        attempt(60, 0, 3, compute=40, ended=True),
        attempt(1100, 4, 9, compute=90, ended=True),
    ]
    found = goodput(written(tmp_path, attempts, lives))
    assert found == spent(evaluate=50, start=6, restart=4, away=10, compute=130, paused=1000)
    assert share(found) == pytest.approx(130 / 200)


def test_a_run_without_attempts_spent_nothing(tmp_path: Path) -> None:
    assert goodput(tmp_path) == spent()


def test_each_attempt_accounts_for_all_of_its_time(tmp_path: Path) -> None:
    began = time.perf_counter()
    for first, last in ((0, 3), (2, 5)):
        one = Attempt(tmp_path / "attempts")
        time.sleep(0.3)
        for step in range(first, last + 1):
            with one.spends("compute"):
                time.sleep(0.01)
            time.sleep(0.002)
            one.at(step)
        one.write(ended=True)
    wall = time.perf_counter() - began
    files = sorted((tmp_path / "attempts").iterdir())
    accounts = [json.loads(file.read_text()) for file in files]
    assert [file.name for file in files] == ["0001.json", "0002.json"]
    assert [(a["first"], a["last"]) for a in accounts] == [(0, 3), (2, 5)]
    assert all(a["seconds"]["start"] >= 0.3 and a["seconds"]["compute"] >= 0.04 for a in accounts)
    assert sum(goodput(tmp_path).values()) == pytest.approx(wall, abs=0.15)


def test_an_attempt_is_on_disk_before_its_first_step(tmp_path: Path) -> None:
    Attempt(tmp_path / "attempts")
    account = json.loads((tmp_path / "attempts" / "0001.json").read_text())
    assert account["first"] is None and account["last"] is None


def test_the_seconds_of_a_block_that_failed_count(tmp_path: Path) -> None:
    one = Attempt(tmp_path / "attempts")
    with pytest.raises(KeyError), one.spends("data"):
        time.sleep(0.02)
        raise KeyError
    one.at(0)
    one.write()
    assert goodput(tmp_path)["data"] >= 0.02


def test_a_driver_says_that_it_is_there_and_what_it_does(tmp_path: Path) -> None:
    began = time.time() - 5  # its process was at work before there was a run
    driver = Life(tmp_path, began)
    with driver.spends("before"):
        time.sleep(0.6)
    with driver.spends("train"):
        time.sleep(1.8)
        seen = json.loads((tmp_path / "lives" / "0001.json").read_text())
        assert seen["phases"][1][0] == "train" and seen["phases"][1][2] is None and seen["ended"] is None
        assert seen["seen"] > seen["phases"][1][1] + 0.5
    driver.close("finished")
    found = goodput(tmp_path)
    # A busy machine wakes a sleeper late.
    assert found["evaluate"] == pytest.approx(0.6, abs=0.4) and found["start"] == pytest.approx(6.8, abs=0.4)
    assert sum(found.values()) == pytest.approx(time.time() - began, abs=0.4)


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
    assert [entry["step"] for entry in newest(path, 5)] == [0]
    again = Journal(path)
    assert [entry["step"] for entry in newest(path, 5)] == [0]
    again.write(1, {"loss": 0.9})
    again.write(2, {"loss": 0.8})
    lines = path.read_text().splitlines()
    assert lines[1] == '{"step": 1, "ti'
    assert [json.loads(lines[i])["step"] for i in (0, 2, 3)] == [0, 1, 2]
    assert [entry["step"] for entry in newest(path, 2)] == [1, 2]


def test_a_whole_last_line_is_followed_by_no_empty_one(tmp_path: Path) -> None:
    for step in range(3):
        Journal(tmp_path / "metrics.jsonl").write(step, {})
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [0, 1, 2]


def test_the_newest_entries_of_a_long_journal_are_found_without_reading_it_all(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "metrics.jsonl")
    for step in range(5000):
        journal.write(step, {f"metric_{i}": step / 7 for i in range(12)})
    path, taken = tmp_path / "metrics.jsonl", []
    for _ in range(5):
        began = time.perf_counter()
        assert [entry["step"] for entry in newest(path, 50)] == list(range(4950, 5000))
        taken.append(time.perf_counter() - began)
    began = time.perf_counter()
    assert len([json.loads(line) for line in path.read_text().splitlines()]) == 5000
    assert min(taken) < (time.perf_counter() - began) / 3


def test_the_losses_before_a_step_are_those_of_the_undisturbed_run_however_often_steps_were_taken_again(
    tmp_path: Path,
) -> None:
    path = tmp_path / "metrics.jsonl"
    assert losses(path, 5, 10) == []
    journal = Journal(path)
    for attempt, steps in enumerate((range(40), range(30, 35), range(30, 60), range(10, 20), range(15, 18))):
        for step in steps:
            if step != 12:  # left out
                journal.write(step, {"loss": step + attempt / 8})
    before = [*range(7, 10), *(step + 3 / 8 for step in (10, 11, 13, 14))]
    assert losses(path, 15, 7) == before
    assert losses(path, 15, 3) == before[-3:]
    assert losses(path, 15, 99) == [*range(7), *before]
    assert losses(path, 0, 5) == []
