"""The same weights every time: run twice, or killed anywhere and started again."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from helpers import BIN, gb_json, train_workers, write_recipe

EPOCHS = 24
Result = dict[str, Any]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, backbone: Path, rows_file: Path) -> dict[str, Path]:
    """A recipe long enough to be killed in the middle, and a home."""
    folder = tmp_path_factory.mktemp("exact")
    content = {
        "name": "exact",
        "corpus": {"sources": [{"uri": str(rows_file)}], "lanes": 4, "shard_rows": 16, "window_shards": 2},
        "tasks": {"topic": {"type": "sequence-classification"}},
        "model": {"path": str(backbone), "max_tokens": 32},
        "train": {"epochs": EPOCHS, "batch": 16, "lr": 3e-3, "workers": 2, "checkpoint": {"every": 20, "keep": 2}},
    }
    return {"recipe": write_recipe(content, folder), "home": folder / "home"}


@pytest.fixture(scope="module")
def undisturbed(place: dict[str, Path], head: dict[str, str]) -> Result:
    """What the run gives when nothing happens to it."""
    return gb_json("finetune", place["recipe"], "--home", place["home"], "--ray", head["address"])


@pytest.mark.chaos
def test_the_same_recipe_gives_the_same_weights(
    place: dict[str, Path], head: dict[str, str], undisturbed: Result
) -> None:
    again = gb_json("finetune", place["recipe"], "--home", place["home"], "--ray", head["address"])
    assert again["run_id"] != undisturbed["run_id"]
    assert again["model"]["weights_sha256"] == undisturbed["model"]["weights_sha256"]
    assert again["metrics"] == undisturbed["metrics"]


def test_every_sample_is_seen_once_an_epoch(undisturbed: Result) -> None:
    train = undisturbed["corpus"]["splits"]["train"]
    assert undisturbed["samples_seen"] == EPOCHS * train
    assert undisturbed["steps"] == EPOCHS * -(-train // 16)


@pytest.mark.chaos
def test_stopped_by_ctrl_c_it_goes_on_to_the_same_bytes(
    place: dict[str, Path], head: dict[str, str], undisturbed: Result
) -> None:
    driver = start(place, head)
    stopped = wait_for_step(place, random.randint(10, 50))
    began = time.monotonic()
    driver.send_signal(signal.SIGINT)
    _, err = driver.communicate(timeout=10)
    assert driver.returncode == 130, err[-4000:]
    wait_until_no_workers(head)
    assert time.monotonic() - began < 10
    client, run_id = tracked(place)
    assert client.get_run(run_id).info.status == "KILLED"
    result = finish(start(place, head))
    assert result["attempts"] == 2
    ends_alike(place, result, undisturbed, f"step {stopped}")


def test_killed_in_every_way_it_ends_with_the_same_bytes(
    place: dict[str, Path], head: dict[str, str], undisturbed: Result
) -> None:
    """SIGKILL of the driver, SIGKILL of a worker, each at a random step of one run.

    The kills come in the middle between two checkpoints, so that there are steps to lose.
    """
    driver = start(place, head)
    driver_killed = wait_for_step(place, random.choice([30, 50, 70]) + random.randint(0, 4))
    driver.kill()
    driver.wait()
    wait_until_no_workers(head)

    driver = start(place, head)
    worker_killed = wait_for_step(place, random.choice([90, 110]) + random.randint(0, 4))
    os.kill(random.choice(train_workers(head["address"])), signal.SIGKILL)
    result = finish(driver)
    assert result["attempts"] == 3
    ends_alike(place, result, undisturbed, f"steps {driver_killed}, {worker_killed}")
    assert result["goodput"]["lost"] > 0


@pytest.mark.chaos
def test_a_run_goes_on_with_another_number_of_workers(
    place: dict[str, Path], head: dict[str, str], undisturbed: Result
) -> None:
    """The optimizer's state is reshaped by itself, and no sample is lost or seen twice."""
    driver = start(place, head)
    wait_for_step(place, 45)
    driver.kill()
    driver.wait()
    wait_until_no_workers(head)
    result = finish(start(place, head, "train.workers=1"))
    assert result["workers"] == 1 and result["attempts"] == 2
    for name in ("steps", "samples_seen", "tokens_seen"):
        assert result[name] == undisturbed[name]
    losses = [line["metrics"]["loss"] for line in map(json.loads, (newest_run(place) / "metrics.jsonl").open())]
    # Dropout is drawn by worker, so the curves are not equal; a lost optimizer state would show as a jump.
    assert max(losses[-20:]) < min(losses[:3]) / 2


def ends_alike(place: dict[str, Path], result: Result, undisturbed: Result, disturbed: str) -> None:
    """The same to the last bit, and in MLflow one finished run with one loss a step."""
    for name in ("steps", "samples_seen", "tokens_seen", "metrics"):
        assert result[name] == undisturbed[name], disturbed
    assert result["model"]["weights_sha256"] == undisturbed["model"]["weights_sha256"], disturbed
    client, run_id = tracked(place)
    assert run_id == result["run_id"] and client.get_run(run_id).info.status == "FINISHED"
    history = client.get_metric_history(run_id, "loss")
    assert sorted(point.step for point in history) == list(range(undisturbed["steps"]))


def tracked(place: dict[str, Path]) -> tuple[Any, str]:
    """A client of MLflow, and the newest run's id there."""
    from gb_ray.registry.tracking import Tracking

    run_id = json.loads((newest_run(place) / "run.json").read_text())["run_id"]
    return Tracking.open(place["home"], None).client, run_id


def start(place: dict[str, Path], head: dict[str, str], *overrides: str) -> subprocess.Popen[str]:
    command = [BIN / "gb", "finetune", place["recipe"], "--home", place["home"], "--ray", head["address"], "--json"]
    return subprocess.Popen([*map(str, command), *overrides], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(driver: subprocess.Popen[str]) -> Result:
    out, err = driver.communicate(timeout=240)
    assert driver.returncode == 0, err[-4000:]
    return dict(json.loads(out))


def newest_run(place: dict[str, Path]) -> Path:
    return max((place["home"] / "runs").glob("exact-*"))


def wait_for_step(place: dict[str, Path], step: int) -> int:
    """Wait until an unfinished run has written this many lines."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        run = newest_run(place)
        journal = run / "metrics.jsonl"
        state = run / "run.json"
        if state.is_file() and json.loads(state.read_text())["status"] == "running" and journal.is_file():
            done = journal.read_bytes().count(b"\n")
            if done >= step:
                return done
        time.sleep(0.02)
    raise AssertionError(f"no step {step} within four minutes")


def wait_until_no_workers(head: dict[str, str]) -> None:
    deadline = time.monotonic() + 30
    while train_workers(head["address"]):
        assert time.monotonic() < deadline, "workers are still there"
        time.sleep(0.1)
