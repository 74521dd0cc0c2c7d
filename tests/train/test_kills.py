"""Killed again and again, a run ends with the bytes it would have ended with: weights, optimizer and position."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from pathlib import Path

import processes
import pytest
import torch.distributed as dist
from small_job import small_job

from gb_ray.train.checkpoints import checkpoint
from gb_ray.train.checkpoints.checkpoint import newest
from gb_ray.train.checkpoints.sealed import manifest
from gb_ray.train.job import Job
from gb_ray.train.loop import train
from gb_ray.train.run import read_json

KEY = "k" * 64


def train_until_killed(job: Job, ranks: list[int], in_save: bool, lines: int, after: float) -> None:
    """Train; `ranks` kill themselves `after` seconds from the moment so many lines are in the journal.

    With `in_save` the moment is when, after that, a checkpoint is being written.
    """

    def watch() -> None:
        journal = job.run / "metrics.jsonl"
        while not (journal.is_file() and journal.read_bytes().count(b"\n") >= lines):
            time.sleep(0.001)
        while in_save and not list((job.run / "checkpoints").glob("*.part/state/*")):
            time.sleep(0.0005)
        time.sleep(after)
        os.kill(os.getpid(), signal.SIGKILL)

    if dist.get_rank() in ranks:
        threading.Thread(target=watch, daemon=True).start()
    train(job)


def ended(job: Job) -> tuple[object, ...]:
    """All that must not differ: the result, the last checkpoint's bytes and position, the loss of every step."""
    found = newest(job.run / "checkpoints", KEY)
    assert found
    entries = [json.loads(line) for line in (job.run / "metrics.jsonl").open() if line.endswith("}\n")]
    losses = {entry["step"]: entry["metrics"]["loss"] for entry in entries}
    return read_json(job.run / "result.json"), found.progress, manifest(found.path)["files"], losses


def killed(job: Job, kills: int, seed: int) -> list[str]:
    """Run a job to its end through so many kills, of each kind in turn, at moments drawn from `seed`."""
    draw, done = random.Random(seed), list[str]()
    for number in range(kills):
        journal = job.run / "metrics.jsonl"
        lines = journal.read_bytes().count(b"\n") if journal.is_file() else 0
        ranks = draw.choice([[0], [1], [0, 1]])
        in_save, after = number % 2 == 1, draw.uniform(0, 0.03)
        with pytest.raises(processes.WorkerFailed):
            processes.run(2, train_until_killed, job, ranks, in_save, lines + draw.randint(1, 6), after, timeout=600)
        done.append(f"{ranks}{' in a save' if in_save else ''} at line {lines}")
    processes.run(2, train, job, timeout=600)
    return done


@pytest.mark.parametrize("zero", [0, 1, 2, 3])
@pytest.mark.parametrize("kills", [3, 20])
@pytest.mark.chaos
@pytest.mark.timeout(2400)
def test_every_kill_leaves_a_run_that_ends_with_the_same_bytes(
    zero: int, kills: int, backbone: Path, tmp_path: Path
) -> None:
    epochs = 4 + 2 * kills
    settings = {"zero": zero, "epochs": epochs, "checkpoint": {"every": 3, "keep": 2}}
    still, disturbed = small_job(tmp_path, backbone, **settings), small_job(tmp_path, backbone, **settings)
    processes.run(2, train, still, timeout=600)
    done = killed(disturbed, kills, seed=kills)
    assert ended(disturbed) == ended(still), done
    assert not list((disturbed.run / "checkpoints").glob("*.part"))
    assert all(one["ok"] for one in checkpoint.account(disturbed.run))
