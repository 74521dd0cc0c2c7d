"""Runs on the command line: which there are, what they do, and what one may ask of them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from helpers import BIN, gb, gb_json, train_workers, write_recipe

sys.path.append(str(Path(__file__).parent / "train"))

from processes import run
from small_job import small_job

from gb_ray.cli import main
from gb_ray.train.checkpoints.checkpoint import newest
from gb_ray.train.loop import train
from gb_ray.train.run import Run


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Four runs: one that goes on, one that was killed, one that was stopped, one that is finished."""
    for name, status in (("sdg-1111-0001", "running"), ("sdg-1111-0002", "running"), ("ner-2222-0001", "stopped")):
        make(tmp_path, name, status)
    make(tmp_path, "ner-3333-0001", "finished")
    return tmp_path


def make(home: Path, name: str, status: str) -> Path:
    folder = home / "runs" / name
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"key": "k", "name": name, "status": status, "run_id": f"id-{name}"}))
    (folder / "lock").touch()
    return folder


@contextmanager
def driven(folder: Path) -> Iterator[None]:
    """While another process holds the run's lock, as its driver does."""
    script = "import fcntl, sys; f = open(sys.argv[1], 'a'); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); input()"
    driver = subprocess.Popen(
        [sys.executable, "-c", script, str(folder / "lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert driver.stdout and driver.stdout.readline() == "\n"
    yield
    driver.kill()
    driver.wait()


def said(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    status = main([str(word) for word in words])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_a_run_whose_driver_is_gone_is_killed_whatever_it_says(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with driven(home / "runs" / "sdg-1111-0001"):
        status, out, _ = said(capsys, "runs", "--home", home, "--json")
        entries = {entry["name"]: entry for entry in json.loads(out)["runs"]}
        lines = said(capsys, "runs", "--home", home)[1]
    assert status == 0
    assert {name: entry["state"] for name, entry in entries.items()} == {
        "sdg-1111-0001": "running",
        "sdg-1111-0002": "killed",
        "ner-2222-0001": "stopped",
        "ner-3333-0001": "finished",
    }
    assert entries["sdg-1111-0001"]["run_id"] == "id-sdg-1111-0001"
    assert len(lines.splitlines()) == 5 and "s ago" in lines


def test_to_look_never_keeps_a_driver_out(home: Path) -> None:
    folder = home / "runs" / "sdg-1111-0001"
    looking = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import fcntl\nwhile 1:\n with open({str(folder / 'lock')!r}) as f:\n  fcntl.flock(f, 5)",
        ]
    )
    try:
        time.sleep(0.3)
        for _ in range(50):
            with Run(folder).locked():
                pass
    finally:
        looking.kill()
        looking.wait()


def test_an_empty_home_says_what_makes_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = said(capsys, "runs", "--home", tmp_path)
    assert status == 0 and out == f"no runs in {tmp_path / 'runs'} yet; gb finetune RECIPE makes one\n"


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("sdg-9", "sdg-9: no run; expected a path, or the name, or the beginning of the name, of one of: "),
        ("sdg", "sdg: several runs begin so: sdg-1111-000"),
        ("", ": several runs begin so: "),
    ],
)
@pytest.mark.parametrize("verb", ["watch", "save", "stop", "checkpoints"])
def test_a_run_that_is_not_there_is_refused_with_what_is(
    home: Path, capsys: pytest.CaptureFixture[str], verb: str, word: str, expected: str
) -> None:
    status, out, err = said(capsys, verb, word, "--home", home)
    assert status == 2 and out == ""
    assert err.startswith(f"gb: {expected}") and "sdg-1111-0002" in err


@pytest.mark.parametrize("verb", ["save", "stop"])
@pytest.mark.parametrize(("word", "state"), [("sdg-1111-0002", "killed"), ("ner-2", "stopped"), ("ner-3", "finished")])
def test_nothing_is_asked_of_a_run_that_does_not_run(
    home: Path, capsys: pytest.CaptureFixture[str], verb: str, word: str, state: str
) -> None:
    status, _, err = said(capsys, verb, word, "--home", home)
    assert status == 2 and f"is not running, it is {state}; gb runs shows those that are" in err
    assert not list(home.glob("runs/*/requests/*"))


def test_watching_a_run_that_has_ended_tells_its_state_and_ends(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = said(capsys, "watch", "ner-2", "--home", home)
    assert status == 0 and out.startswith("ner-2222-0001  stopped\n")
    now = json.loads(said(capsys, "watch", home / "runs" / "ner-2222-0001", "--home", home, "--json")[1])
    assert (now["state"], now["step"], now["workers"]) == ("stopped", 0, [])


def test_a_run_that_ends_before_it_sees_the_request_is_told(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = home / "runs" / "sdg-1111-0001"
    with driven(folder):
        answers: list[tuple[int, str, str]] = []
        asking = threading.Thread(target=lambda: answers.append(ask_by_command(home, "save", folder.name)))
        asking.start()
        until(lambda: bool(list(folder.glob("requests/*.json"))))
    asking.join(60)
    status, _, err = answers[0]
    assert status == 1 and "sdg-1111-0001 ended before it saw the request" in err
    assert not list(folder.glob("requests/*"))


def test_a_checkpoint_is_made_when_asked_for_and_the_command_says_where(tmp_path: Path, backbone: Path) -> None:
    job = small_job(tmp_path / "runs", backbone, epochs=4000, checkpoint={"every": 100_000, "keep": 9})
    with driven(job.run):
        training = threading.Thread(target=lambda: run(2, train, job))
        training.start()
        until(lambda: (job.run / "metrics.jsonl").exists())
        saved = gb_json("save", "run-0", "--home", tmp_path)
        assert Path(saved["checkpoint"]).is_dir()
        now = gb_json("watch", "run-0", "--home", tmp_path)
        assert [worker["rank"] for worker in now["workers"]] == []  # no driver says that it trains
        stopping = subprocess.Popen(
            [BIN / "gb", "stop", "run-0", "--home", tmp_path, "--json"], stdout=subprocess.PIPE, text=True
        )
        training.join(60)
    out, _ = stopping.communicate(timeout=30)
    stopped = json.loads(out)
    assert newest(job.run / "checkpoints", job.key).path == Path(stopped["checkpoint"])  # type: ignore[union-attr]
    listed = gb_json("checkpoints", "run-0", "--home", tmp_path)["checkpoints"]
    assert [Path(entry["path"]).name for entry in listed] == [
        Path(account["checkpoint"]).name for account in (stopped, saved)
    ]
    assert all(entry["ok"] for entry in listed)


def ask_by_command(home: Path, *words: str) -> tuple[int, str, str]:
    done = gb(*words, "--home", home)
    return done.returncode, done.stdout, done.stderr


def until(true: Callable[[], bool], seconds: float = 150) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def place(tmp_path: Path, content: dict[str, Any]) -> Path:
    """A home, and a recipe that trains for long enough to be asked, by two workers that may not hang for 5 s."""
    content["train"] |= {"epochs": 60, "hang_s": 5, "checkpoint": {"every": 40, "keep": 9}}
    write_recipe(content, tmp_path)
    return tmp_path


@pytest.mark.chaos
def test_a_run_is_asked_stopped_frozen_and_killed_and_tells_the_truth_all_along(
    place: Path, head: dict[str, str]
) -> None:
    from gb_ray.registry.tracking import Tracking

    command = [BIN / "gb", "finetune", place / "recipe.yaml", "--home", place, "--ray", head["address"], "--json"]

    def start() -> subprocess.Popen[str]:
        log = (place / "log").open("a")
        return subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=log, text=True)

    def now() -> dict[str, Any]:
        return gb_json("watch", "topics", "--home", place)

    began = time.time()
    driver = start()
    until(lambda: bool(list(place.glob("runs/*/metrics.jsonl"))) or driver.poll() is not None)
    assert driver.poll() is None, (place / "log").read_text()[-4000:]
    (folder,) = (place / "runs").iterdir()
    until(lambda: steps_written(folder) > 20)
    state = now()
    assert (state["state"], state["phase"], state["total"]) == ("running", "train", 60 * 12)
    assert state["left_s"] > 0 and [worker["rank"] for worker in state["workers"]] == [0, 1]
    assert {worker["pid"] for worker in state["workers"]} == set(train_workers())
    saved = gb_json("save", "topics", "--home", place)

    # A worker that stands still is named, and ended, and training goes on by itself.
    frozen = state["workers"][1]["pid"]
    psutil.Process(frozen).suspend()
    since = time.monotonic()
    until(lambda: any("hanging: worker 1 has been at" in note for note in now()["notes"]))
    assert time.monotonic() - since < 20
    until(lambda: not psutil.pid_exists(frozen))
    at = steps_written(folder)
    until(lambda: steps_written(folder) > at + 5)
    assert now()["attempts"] == 2

    stopped = gb_json("stop", "topics", "--home", place)
    out, _ = driver.communicate(timeout=60)
    said = json.loads(out)
    assert driver.returncode == 0 and said["stopped"] and said["run"].endswith(folder.name)
    assert Path(stopped["checkpoint"]).name == f"step-{said['steps']:08d}"
    assert Path(saved["checkpoint"]) != Path(stopped["checkpoint"])
    state = now()
    run_id, client = state["run_id"], Tracking.open(place, None).client
    assert state["state"] == "stopped" and client.get_run(run_id).info.status == "KILLED"

    at = steps_written(folder)
    driver = start()
    until(lambda: steps_written(folder) > at + 5)
    assert client.get_run(run_id).info.status == "RUNNING"
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    (entry,) = gb_json("runs", "--home", place)["runs"]
    assert entry["state"] == "killed" and client.get_run(run_id).info.status == "RUNNING"

    driver = start()
    out, _ = driver.communicate(timeout=240)
    assert driver.returncode == 0, (place / "log").read_text()[-4000:]
    result = json.loads(out)
    assert result["run_id"] == run_id and result["attempts"] == 4 and result["steps"] == 60 * 12
    assert client.get_run(run_id).info.status == "FINISHED" and now()["state"] == "finished"
    wall = time.time() - began
    spent = result["goodput"]
    assert wall * 0.9 < sum(spent.values()) < wall
    assert all(spent[category] > 0 for category in ("start", "compute", "evaluate", "restart", "away", "paused"))
    text = (place / "log").read_text()
    assert "its process" in text and "is stopped" in text and "goes on where it stopped" in text


def steps_written(folder: Path) -> int:
    journal = folder / "metrics.jsonl"
    return journal.read_bytes().count(b"\n") if journal.exists() else 0
