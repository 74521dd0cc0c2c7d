"""`gb tune` as a user runs it: killed on the way, it goes on; the best trial is a registered version."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from helpers import BIN, gb, gb_json, write_recipe

from gb_ray.tune.ledger import Ledger, Trial

TRIALS = 5
SEARCH = {
    "trials": TRIALS,
    "asha": {"factor": 2},
    "space": {"train.lr": {"log": [1e-4, 1e-2]}, "model.dropout": {"choice": [0.0, 0.1]}},
}


def test_a_search_that_cannot_be_is_refused_before_ray_starts(content: dict[str, Any], tmp_path: Path) -> None:
    recipe = write_recipe(content | {"search": {"space": {}}}, tmp_path)
    done = gb("tune", recipe, "--home", tmp_path / "home", "--ray", "local")
    assert done.returncode == 2 and f"{recipe}: search.space" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def trials(home: Path) -> list[Trial]:
    """Of the one search of a home."""
    return [trial for folder in home.glob("searches/*/trials") for trial in Ledger(folder).trials()]


def attempts(home: Path) -> dict[str, int]:
    """How often each trial's training was started; the best one's has become a run."""
    folders = home.glob("searches/*/trials/*/attempts")
    return {folder.parent.name: len(list(folder.glob("*.json"))) for folder in folders}


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_killed_on_the_way_it_goes_on_and_repeats_no_trial_that_ended(content: dict[str, Any], tmp_path: Path) -> None:
    from gb_ray.registry.tracking import Tracking

    content["train"] |= {"epochs": 24, "lr": 1e-3}
    recipe, home = write_recipe(content | {"search": SEARCH}, tmp_path), tmp_path / "home"
    command = [BIN / "gb", "tune", recipe, "--home", home, "--ray", "local", "--json"]
    log = (tmp_path / "log").open("w")
    driver = subprocess.Popen([*map(str, command)], stdout=log, stderr=log, start_new_session=True)
    _wait(lambda: _is_amid(home), 240, driver)
    family = psutil.Process(driver.pid).children(recursive=True)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    psutil.wait_procs(family, timeout=60)  # Ray ends what has lost its driver
    before = {trial.name: trial for trial in trials(home) if trial.ended}
    going = {trial.name: trial for trial in trials(home) if not trial.ended}
    started = attempts(home)
    assert before and going and len(before) < TRIALS

    account = gb_json("tune", recipe, "--home", home, "--ray", "local")
    found, best = account["search"], account["search"]["trials"][0]
    ended = {trial.name: trial for trial in trials(home)}
    assert found["ended_before"] == len(before)
    assert len(ended) == TRIALS and all(trial.ended for trial in ended.values())
    assert {name: ended[name] for name in before} == before
    again = attempts(home)
    assert {name: again[name] for name in before if name in again} == {
        name: started[name] for name in before if name in again
    }
    for name, trial in going.items():
        assert ended[name].curve[: len(trial.curve)] == trial.curve, "it went on, and did not measure again"

    client = Tracking.open(home, None).client
    version = client.get_model_version_by_alias("topics", "candidate")
    assert str(version.version) == account["model"]["version"] and version.run_id == account["run_id"]
    parent, run = client.get_run(found["run_id"]), client.get_run(account["run_id"])
    assert parent.info.status == "FINISHED" and run.data.tags["mlflow.parentRunId"] == found["run_id"]
    nested = client.search_runs(
        [parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{found['run_id']}'", max_results=50
    )
    assert len(nested) == TRIALS and {one.info.status for one in nested} == {"FINISHED"}
    for one in nested:
        trial = next(t for t in ended.values() if str(t.number) == one.data.tags["trial"])
        history = client.get_metric_history(one.info.run_id, "validation_accuracy")
        assert {point.step: point.value for point in history} == {
            mark.steps: mark.metrics["accuracy"] for mark in trial.curve
        }
    assert {file.path for file in client.list_artifacts(found["run_id"])} == {"best.yaml", "trials.svg"}
    written = yaml.safe_load(Path(found["best"]).read_text())
    assert written["train"]["lr"] == best["values"]["train.lr"] and "search" not in written

    once_more = gb_json("tune", recipe, "--home", home, "--ray", "local")
    assert once_more["model"] == account["model"] and once_more["search"]["trials"] == found["trials"]
    assert attempts(home) == again
    plain = gb("tune", recipe, "--home", home, "--ray", "local")
    last = plain.stdout.splitlines()[-1]
    assert f"gb finetune {found['best']}" in last and f"{best['value']:.4f}" in last


def _is_amid(home: Path) -> bool:
    """Two trials have ended, and another has been measured."""
    found = trials(home)
    return sum(bool(t.ended) for t in found) >= 2 and any(t.curve and not t.ended for t in found)


def _wait(true: Any, seconds: float, driver: subprocess.Popen[Any]) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert driver.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
