"""A run goes on with the workers there are: the same samples in the same steps, its optimizer's state reshaped."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import processes
import psutil
import pytest
from helpers import BIN, free_port, stop, write_recipe
from ray.train.v2._internal.execution.controller.state import PreemptingState, ResizingState, RunningState
from ray.train.v2._internal.execution.scaling_policy import ResizeDecision
from ray.train.v2.api.preemption import PreemptionInfo
from small_job import small_job

from gb_ray.train import preemption
from gb_ray.train.account import notes
from gb_ray.train.account.beat import beats
from gb_ray.train.checkpoints import checkpoint
from gb_ray.train.checkpoints.checkpoint import Progress
from gb_ray.train.elastic import SaveFirst
from gb_ray.train.job import Job
from gb_ray.train.loop import train, work
from gb_ray.train.orders import ask, forget
from gb_ray.train.preemption import Preemption
from gb_ray.train.run import read_json

ROUNDING = 2e-4
"""Between the losses of two runs that add up the same fp32 gradients in another order, over 16 steps of Adam."""
ROUNDING_BF16 = 2e-2
"""The same where they are computed in bf16, whose steps near 1 are of 8e-3."""


def losses(job: Job) -> dict[int, float]:
    """Of each step, as it was when it was last taken."""
    return losses_in(job.run)


def losses_in(run: Path) -> dict[int, float]:
    entries = (json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines() if line.endswith("}"))
    return {entry["step"]: entry["metrics"]["loss"] for entry in entries}


def part_of(job: Job, workers: int, until: int) -> None:
    """Train with so many workers until the step is reached, then stop as `gb stop` does."""
    forget(job.run)

    def stop() -> None:
        journal = job.run / "metrics.jsonl"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (journal.is_file() and max(losses(job), default=0) >= until - 1):
            time.sleep(0.005)
        ask(job.run, "stop")

    watcher = threading.Thread(target=stop, daemon=True)
    watcher.start()
    processes.run(workers, train, job)
    watcher.join()


@pytest.mark.chaos
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("zero", [0, 1, 2, 3])
def test_two_then_three_then_one_then_two_workers_take_the_same_steps(
    zero: int, precision: str, backbone: Path, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"samples": 96, "dropout": 0.0, "zero": zero, "epochs": 3, "precision": precision}
    still, moved = (small_job(tmp_path, backbone, **settings) for _ in range(2))
    processes.run(2, train, still)
    for workers, until in ((2, 8), (3, 16), (1, 24)):
        part_of(moved, workers, until)
        assert not (moved.run / "result.json").is_file()
    worlds = [found["world"] for found in checkpoint.account(moved.run)]
    assert worlds[0] == 1
    forget(moved.run)
    processes.run(2, train, moved)
    results = [read_json(job.run / "result.json") for job in (still, moved)]
    for name in ("steps", "samples_seen", "tokens_seen"):
        assert results[0][name] == results[1][name]
    expected, found = losses(still), losses(moved)
    assert found.keys() == expected.keys()
    apart = max(abs(found[step] - expected[step]) for step in expected)
    print(f"zero {zero}, {precision}: {len(expected)} losses, {apart:.1g} apart")
    assert apart < (ROUNDING if precision == "fp32" else ROUNDING_BF16)


@pytest.mark.chaos
def test_what_was_derived_for_other_workers_is_verified_and_made_again(backbone: Path, tmp_path: Path) -> None:
    """Half-made or damaged it is thrown away; nothing of it is unpickled."""
    job = small_job(tmp_path, backbone, epochs=1, checkpoint={"every": 1000, "keep": 1})
    part_of(job, 2, 4)
    forget(job.run)
    derived = Path(checkpoint.account(job.run)[0]["path"]) / checkpoint.UNIVERSAL
    results, times = list[str](), list[int]()
    for damage in ("none", "bit", "no manifest", "whole"):
        processes.run(1, train, job)
        results.append(read_json(job.run / "result.json")["weights_sha256"])
        times.append((derived / "manifest.json").stat().st_mtime_ns)
        assert checkpoint.account(job.run)[0]["ok"]
        weights = max(derived.rglob("*.pt"), key=lambda file: file.stat().st_size)
        if damage == "none":
            content = bytearray(weights.read_bytes())
            content[len(content) // 2] ^= 1
            weights.write_bytes(content)
        elif damage == "bit":
            (derived / "manifest.json").unlink()
            weights.write_bytes(b"")
    assert len(set(results)) == 1
    assert times[0] < times[1] < times[2] == times[3]


def test_a_notice_is_met_once_and_then_again_and_again_until_its_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preemption, "SAVE_EVERY_S", 0.2)
    worker = Preemption(tmp_path)
    assert not worker.seen()
    preemption.give(tmp_path, "resize")
    assert worker.seen() and not worker.seen()
    time.sleep(0.3)
    assert not worker.seen()
    preemption.give(tmp_path, "preempted", deadline=time.time() + 0.7)
    times = 0
    began = time.monotonic()
    while time.monotonic() - began < 1.2:
        times += worker.seen()
        time.sleep(0.01)
    assert 3 <= times <= 4
    preemption.withdraw(tmp_path)
    assert not worker.seen()


def test_a_notice_makes_a_checkpoint_at_the_next_step(backbone: Path, tmp_path: Path) -> None:
    job = small_job(tmp_path, backbone, checkpoint={"every": 1000, "keep": 9})
    preemption.give(job.run, "the node goes away")
    processes.run(2, train, job)
    assert [found["steps"] for found in checkpoint.account(job.run)] == [1]


def test_a_drained_node_is_told_to_the_workers_and_to_the_one_who_watches(tmp_path: Path) -> None:
    info = PreemptionInfo(deadline_ms=int(time.time() * 1000) + 60_000, preempted_node_to_ranks={"node": [1]})
    draining = PreemptingState(preemption_info=info, detected_at_s=time.time())
    worker = Preemption(tmp_path)
    SaveFirst(tmp_path).after_controller_state_update(RunningState(), draining)
    assert worker.seen() and not worker.seen()
    SaveFirst(tmp_path).after_controller_state_update(draining, draining)
    assert not worker.seen()
    (note,) = notes.all_of(tmp_path)
    assert "takes workers 1 away in" in note["text"]


def test_workers_are_ended_for_a_resize_only_when_a_checkpoint_is_there(tmp_path: Path) -> None:
    resize = ResizingState(scaling_decision=ResizeDecision(num_workers=3, resources_per_worker={}))
    waiting = threading.Thread(target=SaveFirst(tmp_path).after_controller_state_update, args=(RunningState(), resize))
    waiting.start()
    waiting.join(0.5)
    assert waiting.is_alive() and Preemption(tmp_path).seen()
    path = checkpoint.part(tmp_path / "checkpoints", 7, "a")
    path.mkdir(parents=True)
    checkpoint.commit(path, 2, Progress(7, 7, 7, 7), "key")
    waiting.join(10)
    assert not waiting.is_alive()


def test_workers_that_are_started_when_the_run_has_its_result_leave_it_as_it_is(backbone: Path, tmp_path: Path) -> None:
    job = small_job(tmp_path, backbone)
    (job.run / "result.json").write_text('{"steps": 16}')
    processes.run(2, work, job)
    assert sorted(path.name for path in job.run.iterdir()) == ["result.json", "run.json"]
    assert read_json(job.run / "result.json") == {"steps": 16}


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    """A cluster whose nodes come and go: its head has one CPU."""
    cluster = Nodes()
    try:
        yield cluster
    finally:
        for process in cluster.all:
            if process.poll() is None:
                stop(process)


class Nodes:
    """Nodes of one CPU each on this machine, as `ray start` makes them."""

    def __init__(self) -> None:
        self.all: list[subprocess.Popen[bytes]] = []
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        self.add("--head", f"--port={port}", "--include-dashboard=false", "--disable-usage-stats")

    def add(self, *options: str) -> subprocess.Popen[bytes]:
        where = options or (f"--address={self.address}",)
        ports = [f"--dashboard-agent-listen-port={free_port()}", "--node-ip-address=127.0.0.1"]
        command = [BIN / "ray", "start", "--block", "--num-cpus=1", *ports, *where]
        self.all.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        time.sleep(6)
        return self.all[-1]

    def remove(self, process: subprocess.Popen[bytes]) -> None:
        """Without a word, as when a machine is lost."""
        family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
        for one in family:
            one.kill()
        process.wait()


@pytest.mark.chaos
@pytest.mark.timeout(1800)
def test_a_run_follows_its_cluster_without_a_command(
    nodes: Nodes, backbone: Path, rows_file: Path, tmp_path: Path
) -> None:
    """2, 3, 1 and 2 workers as nodes are added and lost, against a run of 2 that was left alone."""
    content = {
        "name": "moved",
        "corpus": {"sources": [{"uri": str(rows_file)}], "lanes": 6, "shard_rows": 16, "window_shards": 2},
        "tasks": {"topic": {"type": "sequence-classification"}},
        "model": {"path": str(backbone), "max_tokens": 32, "dropout": 0.0},
        "train": {"epochs": 240, "batch": 64, "micro_tokens": 40, "lr": 1e-4, "precision": "fp32", "zero": 2}
        | {"workers": [1, 3], "checkpoint": {"every": 20, "keep": 2}},
    }
    recipe, home = write_recipe(content, tmp_path), tmp_path / "home"
    second = nodes.add()
    with (tmp_path / "said").open("w") as said:
        driver = finetuning(recipe, home, nodes, said)
    try:
        follow(home, driver, 2)
        third = nodes.add()
        follow(home, driver, 3)
        nodes.remove(second)
        nodes.remove(third)
        follow(home, driver, 1)
        nodes.add()
        follow(home, driver, 2)
        out, _ = driver.communicate(timeout=600)
    finally:
        if driver.poll() is None:
            stop(driver)
    lines = (tmp_path / "said").read_text()
    assert driver.returncode == 0, lines[-4000:]
    assert "goes on with 3 workers after a checkpoint" in lines and "goes on with 2 workers" in lines
    with (tmp_path / "other").open("w") as said:
        out_still, _ = finetuning(recipe, tmp_path / "still", nodes, said, "train.workers=2").communicate(timeout=600)
    moved, still = json.loads(out), json.loads(out_still)
    for name in ("steps", "samples_seen", "tokens_seen"):
        assert moved[name] == still[name]
    found, expected = (losses_in(next((place / "runs").iterdir())) for place in (home, tmp_path / "still"))
    assert found.keys() == expected.keys() == set(range(still["steps"]))
    apart = max(abs(found[step] - expected[step]) for step in expected)
    assert apart < ROUNDING
    starts, gaps = restarts(next((home / "runs").iterdir()))
    print(
        f"{still['steps']} steps, losses {apart:.1g} apart; restart, then start, s: {gaps} {starts}; {moved['goodput']}"
    )
    assert max(starts) <= 20


def finetuning(recipe: Path, home: Path, nodes: Nodes, said: IO[str], *overrides: str) -> subprocess.Popen[str]:
    command = [BIN / "gb", "finetune", recipe, "--home", home, "--ray", nodes.address, "--json", *overrides]
    return subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=said, text=True)


def follow(home: Path, driver: subprocess.Popen[str], workers: int) -> None:
    """Wait until the run has taken 15 steps with so many workers."""
    began, since = time.monotonic(), 0
    while time.monotonic() - began < 120:
        assert driver.poll() is None, "the run ended too soon"
        for run in (home / "runs").glob("*"):
            now = {beat.world for beat in beats(run)}
            journal = run / "metrics.jsonl"
            count = journal.read_bytes().count(b"\n") if journal.is_file() else 0
            since = (since or count + 1) if now == {workers} else 0
            if since and count >= since + 15:
                return
        time.sleep(0.2)
    raise AssertionError(f"no {workers} workers within two minutes")


def restarts(run: Path) -> tuple[list[float], list[float]]:
    """Seconds of every attempt but the first until its first step, and between it and the one before."""
    attempts = [read_json(path) for path in sorted((run / "attempts").glob("*.json"))]
    ends = [attempt["began"] + sum(attempt["seconds"].values()) for attempt in attempts]
    gaps = [round(attempt["began"] - end, 1) for attempt, end in zip(attempts[1:], ends[:-1], strict=True)]
    return [round(attempt["seconds"]["start"], 1) for attempt in attempts[1:]], gaps
