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

from gb_ray.corpus.corpus import seal
from gb_ray.corpus.reading.reader import Reader


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("replayed")
    make_corpus(folder / "old", {"train": [(1.0, 20)]}, lanes=4, shard_rows=4, seed=7)
    return folder


def job(folder: Path, backbone: Path, old: bool = True) -> Job:
    made = small_job(folder, backbone, dropout=0.0, replay=0.25 if old else 0.0)
    return replace(made, old={"topic": folder / "old"} if old else {})


def trained(workers: int, made: Job) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    processes.run(workers, train, made)
    result = json.loads((made.run / "result.json").read_text())
    return result, load_file(made.run / "model" / "model.safetensors")


def test_a_share_of_nothing_is_refused_before_the_first_step(folder: Path, backbone: Path) -> None:
    made = replace(job(folder, backbone), old={})
    with pytest.raises(UserError, match=r"train\.replay: nothing to replay.*--from"):
        reader(made)


def test_a_replayed_sample_has_its_label_under_the_number_of_its_own_tasks_corpus(
    folder: Path, backbone: Path, tmp_path: Path
) -> None:
    """The first task has one label more now, and so other numbers; the second has not."""
    made, tasks = job(folder, backbone), ("topic", "tone")
    new, old = (
        {
            task: make_corpus(tmp_path / f"{kind}-{task}", {"train": [(1.0, 30)]}, lanes=2, shard_rows=8, seed=n + seed)
            for n, task in enumerate(tasks)
        }
        for kind, seed in (("new", 10), ("old", 20))
    )
    grown = new["topic"].manifest
    seal(new["topic"].path, grown.model_copy(update={"labels": ["air", *grown.labels]}))
    section = made.recipe.tasks["topic"]
    recipe = made.recipe.model_copy(update={"tasks": dict.fromkeys(tasks, section)})
    both = replace(
        made,
        recipe=recipe,
        corpora={task: corpus.path for task, corpus in new.items()},
        old={task: corpus.path for task, corpus in old.items()},
    )
    known = {
        sample.id: (number, sample.label + (task == "topic"))
        for number, task in enumerate(tasks)
        for sample in Reader(old[task], "train", 0).once()
    }
    mixed = reader(both)
    replayed = [sample for sample in mixed.step(0, 0, mixed.samples_per_epoch) if sample.id in known]
    assert len(replayed) == 20 and {sample.task for sample in replayed} == {0, 1}
    assert all((sample.task, sample.label) == known[sample.id] for sample in replayed)


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
