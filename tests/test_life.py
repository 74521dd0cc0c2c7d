"""The life of one model through the verbs, as a user types them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from helpers import BIN, ROOT, free_port, gb, gb_json, train_workers, write_recipe

TEXTS = ["solar turbine grid power", "the nurse gave a vaccine", "flood at the river well"]


@pytest.fixture(scope="module")
def life(
    tmp_path_factory: pytest.TempPathFactory, backbone: Path, rows_file: Path, head: dict[str, str]
) -> dict[str, Any]:
    """Fine-tuned and promoted: where things are, and what the commands said."""
    folder = tmp_path_factory.mktemp("life")
    content = {
        "name": "topics",
        "corpus": {"sources": [{"uri": str(rows_file)}], "lanes": 4},
        "tasks": {"topic": {"type": "sequence-classification"}},
        "model": {"path": str(backbone), "max_tokens": 32},
        "train": {"epochs": 6, "batch": 16, "lr": 3e-3, "workers": 1},
    }
    recipe, home = write_recipe(content, folder), folder / "home"
    common = ("--home", home, "--ray", head["address"])
    tuned = gb_json("finetune", recipe, *common)
    promoted = gb_json("promote", "topics", "--version", tuned["model"]["version"], *common)
    return {"recipe": recipe, "home": home, "common": common, "tuned": tuned, "promoted": promoted, "folder": folder}


def test_finetune_gives_the_keys_that_programs_rely_on(life: dict[str, Any]) -> None:
    tuned = life["tuned"]
    assert {"run_id", "attempts", "steps", "samples_seen", "tokens_seen", "metrics", "model"} <= tuned.keys()
    assert {"tokens_per_s", "padding", "goodput", "corpus"} <= tuned.keys()
    assert tuned["model"].keys() == {"name", "version", "uri", "path", "weights_sha256"}
    assert set(tuned["metrics"]["test"]["topic"]) >= {"accuracy", "macro_f1", "roc_auc"}
    assert tuned["attempts"] == 1 and tuned["padding"] < 0.2
    assert {"read", "samples", "duplicates", "quarantined", "splits", "path", "digest"} <= tuned["corpus"].keys()


def test_the_gate_passed_and_the_ledger_says_so(life: dict[str, Any]) -> None:
    assert life["promoted"]["gate"]["passed"] is True
    assert life["promoted"]["ledger"]["size"] == 1
    verdict = gb_json("ledger", "verify", "--home", life["home"])
    assert verdict["ok"] and verdict["ledgers"]["topics"]["head"] == life["promoted"]["ledger"]["head"]


def test_evaluate_gives_again_what_finetune_printed(life: dict[str, Any]) -> None:
    """Another process reproduces the numbers."""
    options = ("--recipe", life["recipe"], "--split", "test", *life["common"])
    found = gb_json("evaluate", "models:/topics@champion", *options)
    assert found["metrics"]["test"] == life["tuned"]["metrics"]["test"]
    assert found["pace"]["test"]["topic"]["texts_per_s"] > 0 < found["pace"]["test"]["topic"]["joules_per_text"]


def test_what_is_known_of_a_metric_is_told_everywhere(life: dict[str, Any]) -> None:
    """In the account, in the exported model, and at the tracking server, with slices and the report beside it."""
    from gb_ray.registry.tracking import Tracking

    tuned = life["tuned"]
    low, high = tuned["intervals"]["test"]["topic"]["accuracy"]
    assert low <= tuned["metrics"]["test"]["topic"]["accuracy"] <= high
    assert tuned["compared"]["test"]["topic"]["accuracy"]["better"] == "b"
    assert tuned["calibration"] == {}  # its validation split is too small for a temperature
    assert {one["by"] for one in tuned["slices"]["test"]["topic"]} >= {"length", "label"}
    described = json.loads((Path(tuned["model"]["path"]) / "gb_model.json").read_text())
    assert all(described[name] == tuned[name] for name in ("metrics", "intervals", "compared", "calibration"))
    client = Tracking.open(life["home"], None).client
    logged = client.get_run(tuned["run_id"]).data.metrics
    assert (logged["test_accuracy_low"], logged["test_accuracy_high"]) == (low, high)
    assert {file.path for file in client.list_artifacts(tuned["run_id"])} >= {"slices.json", "report.html"}


@pytest.mark.chaos
def test_a_model_is_not_better_than_itself(life: dict[str, Any]) -> None:
    options = ("--recipe", life["recipe"], "--against", life["tuned"]["model"]["path"], *life["common"])
    found = gb_json("evaluate", "models:/topics@champion", *options)
    assert found["metrics"]["test"] == life["tuned"]["metrics"]["test"]
    assert found["intervals"]["test"] == life["tuned"]["intervals"]["test"]
    for one in [*found["compared"]["test"]["topic"].values(), *found["compared_slices"]["test"]["topic"]]:
        assert (one["difference"], one["p"], one["better"]) == (0, 1, None)


@pytest.mark.chaos
def test_a_model_with_itself_answers_as_it_does_alone(life: dict[str, Any]) -> None:
    path = life["tuned"]["model"]["path"]
    found = gb_json("evaluate", path, "--recipe", life["recipe"], "--with", path, *life["common"])
    assert [one["path"] for one in found["with"]] == [path]
    expected = life["tuned"]["metrics"]["test"]["topic"]
    assert found["metrics"]["test"]["topic"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.chaos
def test_two_versions_live_as_one(life: dict[str, Any], tmp_path: Path) -> None:
    """Packaged, measured, promoted and served: the endpoint answers the mean of what the two answer alone."""
    import httpx

    home = shutil.copytree(life["home"], tmp_path / "home")
    common = ("--home", home, "--ray", life["common"][-1])
    words = [word for text in TEXTS for word in ("--text", text)]
    gb_json("finetune", life["recipe"], *common, "seed=7", "train.epochs=4")
    members = ("models:/topics/1", "models:/topics/2")
    made = gb_json("ensemble", "topics", *members, "--home", home)
    assert [one["uri"] for one in made["members"]] == list(members)
    options = ("--recipe", life["recipe"], *common)
    found = gb_json("evaluate", made["model"]["uri"], *options)
    assert found["metrics"] == gb_json("evaluate", members[0], "--with", members[1], *options)["metrics"]
    (tmp_path / "any.yaml").write_text("floors: {macro_f1: 0.1}")
    outcome = gb_json("promote", "topics", "--version", "3", "--policy", tmp_path / "any.yaml", *common)
    assert outcome["gate"]["passed"]
    each = [gb_json("predict", one, *words, "--home", home)["answers"] for one in members]

    port = free_port()
    command = [BIN / "gb", "serve", "models:/topics@champion", *common, "--json", f"serve.port={port}"]
    server = subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        url = json.loads(server.stdout.readline())["url"]
        answer = httpx.post(f"{url}/v1/models/topics/predict", json={"texts": TEXTS}, timeout=30).json()
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(20)
    assert answer["model"]["version"] == "3"
    for one, other, both in zip(*each, answer["answers"], strict=True):
        for label, score in both["probabilities"].items():
            mean = (one["probabilities"][label] + other["probabilities"][label]) / 2
            assert score == pytest.approx(mean, abs=1e-5)


def test_predict_pyfunc_and_plain_transformers_agree(life: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow
    import pandas as pd
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    texts = [word for text in TEXTS for word in ("--text", text)]
    answers = gb_json("predict", "models:/topics@champion", *texts, "--home", life["home"])["answers"]
    labels = list(answers[0]["probabilities"])
    ours = np.array([[answer["probabilities"][label] for label in labels] for answer in answers])

    path = life["tuned"]["model"]["path"]
    tokens = AutoTokenizer.from_pretrained(path)(TEXTS, padding=True, return_tensors="pt")
    with torch.inference_mode():
        logits = AutoModelForSequenceClassification.from_pretrained(path)(**tokens).logits
    assert np.allclose(ours, logits.softmax(-1).numpy(), atol=1e-3)

    # Not set_tracking_uri: it would tell every later subprocess too.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{life['home']}/mlflow.db")
    frame = mlflow.pyfunc.load_model("models:/topics@champion").predict(pd.DataFrame({"text": TEXTS}))
    theirs = np.array([[dict(row)[label] for label in labels] for row in frame["probabilities"]])
    assert np.allclose(ours, theirs, atol=1e-3)
    assert list(frame["label"]) == [answer["label"] for answer in answers]


def test_the_endpoint_gives_the_probabilities_that_predict_gives(life: dict[str, Any]) -> None:
    import httpx

    words = [word for text in TEXTS for word in ("--text", text)]
    expected = gb_json("predict", "models:/topics@champion", *words, "--home", life["home"])["answers"]
    port = free_port()
    command = [BIN / "gb", "serve", "models:/topics@champion", *life["common"], "--json", f"serve.port={port}"]
    server = subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        url = json.loads(server.stdout.readline())["url"]
        answer = httpx.post(f"{url}/v1/models/topics/predict", json={"texts": TEXTS}, timeout=30).json()
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(20)
    assert server.returncode == 0
    assert answer["model"]["weights_sha256"] == life["tuned"]["model"]["weights_sha256"]
    for ours, theirs in zip(expected, answer["answers"], strict=True):
        assert ours["label"] == theirs["label"]
        for label, score in ours["probabilities"].items():
            assert abs(score - theirs["probabilities"][label]) < 1e-3


def test_a_version_that_the_gate_refuses_gives_status_3_and_moves_nothing(life: dict[str, Any], tmp_path: Path) -> None:
    """The version stands in the registry under another number; only the gate is in its way."""
    from gb_ray.registry.tracking import Tracking

    client = Tracking.open(life["home"], None).client
    first = client.get_model_version("topics", life["tuned"]["model"]["version"])
    again = client.create_model_version("topics", first.source, run_id=first.run_id, tags=first.tags)
    policy = tmp_path / "policy.yaml"
    policy.write_text("floors: {macro_f1: 1.01}\n")
    options = ("--version", again.version, "--policy", policy, *life["common"])
    refused = gb_json("promote", "topics", *options, status=3)
    assert refused["gate"]["passed"] is False
    answer = gb_json("predict", "models:/topics@champion", "--text", "x", "--home", life["home"])
    assert answer["model"]["version"] == life["tuned"]["model"]["version"]


def test_an_altered_model_is_not_loaded(life: dict[str, Any], tmp_path: Path) -> None:
    copy = tmp_path / "model"
    shutil.copytree(life["tuned"]["model"]["path"], copy)
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    done = gb("predict", copy, "--text", "x", "--home", life["home"])
    assert done.returncode == 2 and "model.safetensors" in done.stderr


def test_the_tracking_server_away_at_the_start_stops_before_training(life: dict[str, Any]) -> None:
    done = gb("finetune", life["recipe"], *life["common"], "--tracking", f"http://127.0.0.1:{free_port()}", timeout=60)
    assert done.returncode == 2 and "http://127.0.0.1" in done.stderr
    assert "train" not in done.stderr


@pytest.mark.chaos
def test_the_tracking_server_gone_at_the_end_costs_nothing(life: dict[str, Any], tmp_path: Path) -> None:
    """The model stays on disk, and `gb register` finishes the job with every step's metrics."""
    from gb_ray.registry.tracking import Tracking

    port, home = free_port(), tmp_path / "home"
    tracking = f"http://127.0.0.1:{port}"
    server = _mlflow_server(port, tmp_path)
    common = ("--home", home, "--ray", life["common"][3], "--tracking", tracking)
    command = [BIN / "gb", "finetune", life["recipe"], *common, "--json", "train.epochs=12"]
    driver = subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    _wait(lambda: any(j.read_bytes().count(b"\n") > 3 for j in home.glob("runs/*/metrics.jsonl")), 120)
    _end(server)
    out, err = driver.communicate(timeout=240)
    assert driver.returncode == 1, err[-3000:]
    assert "gb register" in err and out == ""
    run = next(home.glob("runs/*"))
    server = _mlflow_server(port, tmp_path)
    try:
        account = gb_json("register", run, "--home", home, "--tracking", tracking)
        client = Tracking.open(home, tracking).client
        history = client.get_metric_history(account["run_id"], "loss")
        assert sorted(point.step for point in history) == list(range(account["steps"]))
        assert client.get_run(account["run_id"]).info.status == "FINISHED"
    finally:
        _end(server)


def test_a_port_that_is_taken_is_named_with_its_owner(life: dict[str, Any]) -> None:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        done = gb("serve", "models:/topics@champion", *life["common"], f"serve.port={port}")
    assert done.returncode == 2
    assert str(port) in done.stderr and str(os.getpid()) in done.stderr and "serve.port" in done.stderr


def test_too_many_workers_are_refused_at_once(life: dict[str, Any]) -> None:
    done = gb("finetune", life["recipe"], *life["common"], "train.workers=64", timeout=120)
    assert done.returncode == 2 and "train.workers" in done.stderr


@pytest.mark.chaos
def test_what_only_a_worker_can_refuse_is_bad_input_too(life: dict[str, Any]) -> None:
    done = gb("finetune", life["recipe"], *life["common"], "train.precision=fp16", timeout=120)
    assert done.returncode == 2 and "train.precision: fp16 needs GPUs" in done.stderr


def test_a_ray_that_already_runs_is_not_touched(life: dict[str, Any]) -> None:
    done = gb("finetune", life["recipe"], "--home", life["home"], timeout=60)
    assert done.returncode == 2
    assert "--ray auto" in done.stderr and "pid" in done.stderr


@pytest.mark.chaos
def test_ctrl_c_with_a_ray_of_its_own_leaves_no_process(life: dict[str, Any], tmp_path: Path) -> None:
    options = ("--home", tmp_path / "home", "--ray", "local", "train.epochs=200")
    command = [BIN / "gb", "finetune", life["recipe"], *options]
    driver = subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    _wait(lambda: any(tmp_path.glob("home/runs/*/metrics.jsonl")), 120)
    family = psutil.Process(driver.pid).children(recursive=True)
    began = time.monotonic()
    driver.send_signal(signal.SIGINT)
    assert driver.wait(10) == 130
    _, alive = psutil.wait_procs(family, timeout=10 - (time.monotonic() - began))
    assert not alive


@pytest.mark.parametrize("end", ["stop", pytest.param("done", marks=pytest.mark.chaos)])
def test_a_submitted_job(end: str, life: dict[str, Any], head: dict[str, str], tmp_path: Path) -> None:
    """One JSON object last; a stopped job is marked KILLED and leaves no worker."""
    from gb_ray.registry.tracking import Tracking

    home, epochs = tmp_path / "home", 30 if end == "done" else 500
    ray = [str(BIN / "ray"), "job"]
    command = f"{BIN / 'python'} jobs/finetune.py --recipe {life['recipe']} --home {home} train.epochs={epochs}"
    submit = [*ray, "submit", "--address", head["jobs"], "--working-dir", ".", "--submission-id", f"test-{end}"]
    submit += ["--no-wait"] if end == "stop" else []
    done = subprocess.run([*submit, "--", *command.split()], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    if end == "done":
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        assert json.loads(lines[-1])["steps"] > 0
        assert "steps/s" in done.stdout
        return
    logs = [*ray, "logs", "--address", head["jobs"], f"test-{end}"]
    _wait(lambda: any(tmp_path.glob("home/runs/*/metrics.jsonl")), 300, logs)
    subprocess.run([*ray, "stop", "--address", head["jobs"], f"test-{end}"], capture_output=True, check=True)
    run = json.loads(next(tmp_path.glob("home/runs/*/run.json")).read_text())
    client = Tracking.open(home, None).client
    _wait(lambda: client.get_run(run["run_id"]).info.status == "KILLED", 20)
    _wait(lambda: not train_workers(head["address"]), 20)


def _mlflow_server(port: int, folder: Path) -> subprocess.Popen[bytes]:
    command = [BIN / "mlflow", "server", "--host", "127.0.0.1", "--port", port, "--workers", 1]
    command += ["--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", folder / "artifacts"]
    log = (folder / "server.log").open("a")
    env = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    server = subprocess.Popen([*map(str, command)], stdout=log, stderr=log, env=env)
    import httpx

    def answers() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
        except httpx.HTTPError:
            return False

    _wait(answers, 90)
    return server


def _end(server: subprocess.Popen[bytes]) -> None:
    family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    for process in family:
        process.kill()
    server.wait()


def _wait(true: Any, seconds: float, tell: list[str] | None = None) -> None:
    """`tell`: the command whose output says how far it came, where it never became true."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            told = subprocess.run(tell, capture_output=True, text=True, check=False).stdout if tell else ""
            pytest.fail(f"not within {seconds:.0f} s\n{told[-5000:]}")
        time.sleep(0.1)
