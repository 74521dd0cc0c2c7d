"""A run with replay, on one worker and on two: the same samples, and weights that are the same to rounding."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import processes
import pytest
import torch
from safetensors.torch import load_file
from small_job import small_job

from gb_ray.section import UserError
from gb_ray.train import orders
from gb_ray.train.job import Job
from gb_ray.train.loop import train
from gb_ray.train.samples import reader

sys.path.append(str(Path(__file__).parent.parent / "corpus"))

from synthetic import make_corpus


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("replayed")
    make_corpus(folder / "old", {"train": [(1.0, 20)]}, lanes=4, shard_rows=4, seed=7)
    return folder


def job(folder: Path, backbone: Path, old: bool = True) -> Job:
    made = small_job(folder, backbone, dropout=0.0, replay=0.25 if old else 0.0)
    return replace(made, old=folder / "old" if old else None)


def trained(workers: int, made: Job) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    processes.run(workers, train, made)
    result = json.loads((made.run / "result.json").read_text())
    return result, load_file(made.run / "model" / "model.safetensors")


def test_a_share_of_nothing_is_refused_before_the_first_step(folder: Path, backbone: Path) -> None:
    made = replace(job(folder, backbone), old=None)
    with pytest.raises(UserError, match=r"train\.replay: nothing to replay.*--from"):
        reader(made)


@pytest.mark.chaos
def test_weights_are_those_of_one_worker_and_replay_shows_in_them(folder: Path, backbone: Path) -> None:
    one, alone = trained(1, job(folder, backbone))
    two, shared = trained(2, job(folder, backbone))
    without, plain = trained(2, job(folder, backbone, old=False))
    assert one["samples_seen"] == two["samples_seen"] == 2 * (64 + 21)
    assert one["tokens_seen"] == two["tokens_seen"]
    assert without["samples_seen"] == 2 * 64

    def apart(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
        return max(float((a[name] - b[name]).abs().max()) for name in a)

    assert apart(alone, shared) < 1e-3 < 5 * 1e-3 < apart(shared, plain)


@pytest.mark.chaos
def test_a_run_that_stops_among_replayed_samples_goes_on_to_the_same_bytes(folder: Path, backbone: Path) -> None:
    undisturbed, made = job(folder, backbone), job(folder, backbone)
    expected, _ = trained(1, undisturbed)
    orders.ask(made.run, "stop")
    processes.run(1, train, made)
    assert (made.run / "stopped.json").is_file()
    orders.forget(made.run)
    assert trained(1, made)[0]["weights_sha256"] == expected["weights_sha256"]
