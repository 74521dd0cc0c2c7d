"""A trial is the training of a run: measured on the way, killed and taken up, its weights are those of any other."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from small_search import VALUES, small_search

from gb_ray.corpus.corpus import Corpus
from gb_ray.corpus.reading.reader import Reader
from gb_ray.model import load
from gb_ray.train.evaluate import score
from gb_ray.train.run import read_json, write_json
from gb_ray.tune.ledger import Mark, name_of
from gb_ray.tune.section import AshaSection
from gb_ray.tune.trial import Search, after, train

sys.path.append(str(Path(__file__).parent.parent / "train"))

import processes

NAME = name_of(VALUES)


def reported(search: Search, values: dict[str, Any], dies_at: int = 0) -> list[tuple[int, Mark]]:
    """What a trial reports; it kills itself when the report of mark `dies_at` comes."""
    import torch.distributed as dist

    dist.destroy_process_group()  # a trial makes its own
    found: list[tuple[int, Mark]] = []

    def report(number: int, mark: Mark) -> None:
        found.append((number, mark))
        if number == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        train(search, values, report)
    finally:
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    return found


def plainly(search: Search) -> None:
    """The same training with nobody who looks."""
    from dataclasses import replace

    from gb_ray.train import loop

    run = search.folder / "plain"
    write_json(run / "run.json", {"key": "k" * 64, "name": "plain", "status": "running"})
    loop.train(replace(search.job(VALUES), run=run))


def test_a_trial_is_measured_at_its_rungs_and_its_end() -> None:
    assert AshaSection().marks == [1, 4, 16] and AshaSection(rungs=0).marks == [1]
    assert after([1, 4, 16], 320) == [20, 80, 320] and after([1, 4, 16], 17) == [2, 5, 17] and after([1], 7) == [7]


def test_a_trial_trains_what_a_run_trains_and_measures_what_its_model_answers(tmp_path: Path, backbone: Path) -> None:
    search = small_search(tmp_path, backbone)
    search.ledger.begin(VALUES)
    found = processes.run(1, reported, search, VALUES)[0]
    assert [(number, mark.steps) for number, mark in found] == [(1, 4), (2, 8), (4, 16)]
    (search.folder / "plain").mkdir()
    processes.run(1, plainly, search)
    run = search.ledger.run(NAME)
    digest = "weights_sha256"
    assert read_json(run / "result.json")[digest] == read_json(search.folder / "plain" / "result.json")[digest]
    assert found[-1][1].metrics["accuracy"] == pytest.approx(_of_exported(search, run / "model"))
    search.ledger.end(NAME, "full")
    shutil.rmtree(run / "checkpoints")
    assert processes.run(1, reported, search, VALUES)[0] == found, "one that ended reports, and trains no more"
    assert len(list((run / "attempts").glob("*"))) == 1


def _of_exported(search: Search, model: Path) -> float:
    from gb_ray.tasks.task import make

    task, corpus = make(search.recipe.tasks["topic"], str(model), 64), Corpus.open(search.corpora["topic"])
    with Reader(corpus, "validation", 0) as reader:
        scored = score(load.exported(model, task.architecture), task, list(reader.once()))
    return task.metrics([one[1] for one in scored], [one[2] for one in scored], corpus.manifest.labels)["accuracy"]


@pytest.mark.parametrize("dies_at", [1, 2])
def test_a_trial_that_was_killed_goes_on_to_the_same_weights_and_marks(
    dies_at: int, tmp_path: Path, backbone: Path
) -> None:
    search, other = (small_search(tmp_path / name, backbone) for name in ("killed", "whole"))
    for one in (search, other):
        one.ledger.begin(VALUES)
    with pytest.raises(processes.WorkerFailed, match="died"):
        processes.run(1, reported, search, VALUES, dies_at)
    found, whole = (processes.run(1, reported, one, VALUES)[0] for one in (search, other))
    assert found == whole
    results = [read_json(one.ledger.run(NAME) / "result.json") for one in (search, other)]
    assert results[0] == results[1]


def test_values_that_cannot_be_trained_with_are_remembered_as_failed(tmp_path: Path, backbone: Path) -> None:
    search, hot = small_search(tmp_path, backbone), {"train.lr": 1e30}
    search.ledger.begin(hot)
    for _ in range(2):
        with pytest.raises(processes.WorkerFailed, match=r"TrialFailed.*step"):
            processes.run(1, reported, search, hot)
    assert len(list((search.ledger.run(name_of(hot)) / "attempts").glob("*"))) == 1
    assert "step" in str(search.ledger.failure(name_of(hot)))


def test_each_of_several_tasks_is_measured_under_its_name(tmp_path: Path, backbone: Path) -> None:
    search = small_search(tmp_path, backbone, {"topic": "class", "tags": "tokens"})
    search.ledger.begin(VALUES)
    found = processes.run(1, reported, search, VALUES)[0]
    assert len(found) == len(search.marks) == 3
    assert {"topic.accuracy", "topic.macro_f1", "tags.entity_f1", "tags.accuracy"} <= found[-1][1].metrics.keys()
