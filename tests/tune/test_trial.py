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
from gb_ray.train import skips
from gb_ray.train.batch import Layout
from gb_ray.train.evaluate import groups, score
from gb_ray.train.run import read_json, write_json
from gb_ray.tune.ledger import Mark, name_of
from gb_ray.tune.section import AshaSection
from gb_ray.tune.trial import Search, TrialFailed, after, train

sys.path.append(str(Path(__file__).parent.parent / "train"))

import processes

NAME = name_of(VALUES)
HOT = {"train.lr": 1e30}
SKIPPING = {"train.lr": 2e-3}
LEFT_OUT = [3, 15]
"""The steps of its first mark and of its last."""


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


def everything(one: Search, several: Search) -> dict[str, Any]:
    """In one process, for each takes seconds to start: a trial, again, plainly, with bad values twice, and several."""
    found: dict[str, Any] = {"first": reported(one, VALUES)}
    one.ledger.end(NAME, "full")
    shutil.rmtree(one.ledger.run(NAME) / "checkpoints")
    found["again"] = reported(one, VALUES)
    plainly(one)
    for _ in range(2):
        with pytest.raises(TrialFailed, match="step"):
            reported(one, HOT)
    found["skipping"] = reported(one, SKIPPING)
    return found | {"several": reported(several, VALUES)}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, backbone: Path) -> tuple[Search, dict[str, Any]]:
    """A search, and what was reported of it."""
    folder = tmp_path_factory.mktemp("trials")
    one = small_search(folder / "one", backbone)
    several = small_search(folder / "several", backbone, {"topic": "class", "tags": "tokens"})
    for search, values in ((one, VALUES), (one, HOT), (one, SKIPPING), (several, VALUES)):
        search.ledger.begin(values)
    one.ledger.run(name_of(SKIPPING)).mkdir()
    for step in LEFT_OUT:
        skips.add(one.ledger.run(name_of(SKIPPING)), {"step": step, "why": "its loss", "samples": []})
    (one.folder / "plain").mkdir()
    return one, processes.run(1, everything, one, several)[0]


def test_a_trial_is_measured_at_its_rungs_and_its_end() -> None:
    assert AshaSection().marks == [1, 4, 16] and AshaSection(rungs=0).marks == [1]
    assert after([1, 4, 16], 320) == [20, 80, 320] and after([1, 4, 16], 17) == [2, 5, 17] and after([1], 7) == [7]


def test_a_trial_trains_what_a_run_trains(trained: tuple[Search, dict[str, Any]]) -> None:
    search, _ = trained
    found, plain = (read_json(run / "result.json") for run in (search.ledger.run(NAME), search.folder / "plain"))
    assert found == plain


def test_it_measures_what_its_exported_model_answers(trained: tuple[Search, dict[str, Any]]) -> None:
    search, found = trained
    assert [(number, mark.steps) for number, mark in found["first"]] == [(1, 4), (2, 8), (4, 16)]
    assert found["first"][-1][1].metrics == pytest.approx(_of_exported(search, search.ledger.run(NAME) / "model"))


def test_a_mark_whose_step_is_left_out_is_taken_after_the_next_one(trained: tuple[Search, dict[str, Any]]) -> None:
    _, found = trained
    assert [(number, mark.steps) for number, mark in found["skipping"]] == [(1, 5), (2, 8), (4, 15)]


def test_one_that_ended_reports_and_trains_no_more(trained: tuple[Search, dict[str, Any]]) -> None:
    search, found = trained
    assert found["again"] == found["first"]
    assert len(list((search.ledger.run(NAME) / "attempts").glob("*"))) == 1


def test_values_that_cannot_be_trained_with_are_remembered_as_failed(trained: tuple[Search, dict[str, Any]]) -> None:
    search, _ = trained
    assert "step" in str(search.ledger.failure(name_of(HOT)))
    assert len(list((search.ledger.run(name_of(HOT)) / "attempts").glob("*"))) == 1


def test_each_of_several_tasks_is_measured_under_its_name(trained: tuple[Search, dict[str, Any]]) -> None:
    last = trained[1]["several"][-1][1]
    assert {"topic.accuracy", "topic.macro_f1", "tags.entity_f1", "tags.accuracy"} <= last.metrics.keys()


@pytest.mark.parametrize("dies_at", [2, pytest.param(1, marks=pytest.mark.chaos)])
def test_a_trial_that_was_killed_goes_on_to_the_same_weights_and_marks(
    dies_at: int, trained: tuple[Search, dict[str, Any]], tmp_path: Path, backbone: Path
) -> None:
    search, (whole, found) = small_search(tmp_path, backbone), trained
    search.ledger.begin(VALUES)
    with pytest.raises(processes.WorkerFailed, match="died"):
        processes.run(1, reported, search, VALUES, dies_at)
    assert processes.run(1, reported, search, VALUES)[0] == found["first"]
    results = [read_json(one.ledger.run(NAME) / "result.json") for one in (search, whole)]
    assert results[0] == results[1]


def _of_exported(search: Search, model: Path) -> dict[str, float]:
    from gb_ray.tasks.task import make

    task, corpus = make(search.recipe.tasks["topic"], str(model), 64), Corpus.open(search.corpora["topic"])
    with Reader(corpus, "validation", 0) as reader:
        samples = list(reader.once())
    answering = load.exported(model, task.architecture)
    laid = Layout.of(answering, (task,))
    scored = score(answering, laid, groups(laid, samples))[0]
    return task.metrics([one[1] for one in scored], [one[2] for one in scored], corpus.manifest.labels)
