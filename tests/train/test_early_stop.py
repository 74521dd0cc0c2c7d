"""A run with `early_stop` ends when its validation split gets no better, with the weights that answered it best."""

from __future__ import annotations

import json
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import processes
import pytest
import torch
from engines import end
from safetensors.torch import load_file
from small_job import small_job
from test_kills import train_until_killed

from gb_ray.corpus.corpus import Corpus
from gb_ray.corpus.reading.reader import Reader
from gb_ray.model import load
from gb_ray.section import UserError
from gb_ray.tasks.task import make
from gb_ray.train import skips
from gb_ray.train.account.record import Record
from gb_ray.train.batch import Layout
from gb_ray.train.checkpoints.checkpoint import Progress, opened, place
from gb_ray.train.evaluate import groups, score
from gb_ray.train.job import Job
from gb_ray.train.loop import train
from gb_ray.train.run import read_json
from gb_ray.train.validation import Validation
from gb_ray.train.worker import Worker

sys.path.append(str(Path(__file__).parent.parent / "corpus"))

from synthetic import make_corpus

STOP = {"metric": "loss", "patience": 2, "every": 3}
TOTAL = 80


def job_of(folder: Path, backbone: Path, validation: int = 21, **train: Any) -> Job:
    """Labels are drawn: what is learnt of the train split makes the others worse, from the first steps on."""
    settings = {"epochs": 10, "lr": 2e-3, "early_stop": STOP, "checkpoint": {"every": 5, "keep": 1}}
    job = small_job(folder, backbone, **settings | train)
    corpus = folder / f"corpus-{validation}"
    if not corpus.is_dir():
        splits = {"train": [(1.0, 64)], "validation": [(1.0, validation)]} if validation else {"train": [(1.0, 64)]}
        make_corpus(corpus, splits, lanes=6, shard_rows=16)
    return replace(job, corpora={"topic": corpus})


def curve(job: Job, metric: str = "loss") -> dict[int, float]:
    """A metric of the validation split after so many steps."""
    entries = [json.loads(line) for line in (job.run / "metrics.jsonl").open()]
    name = f"early_stop_{metric}"
    return {entry["step"] + 1: entry["metrics"][name] for entry in entries if name in entry["metrics"]}


def loss_of_export(job: Job) -> float:
    """The validation loss of the exported model, measured by this process alone."""
    corpus = Corpus.open(job.corpora["topic"])
    task = make(job.recipe.tasks["topic"], job.recipe.model.path, job.recipe.model.max_tokens)
    model = load.exported(job.run / "model", task.architecture)
    laid = Layout.of(model, (task,))
    with Reader(corpus, "validation", 0) as reader:
        scored = score(model, laid, groups(laid, list(reader.once())))[0]
    return task.metrics([one[1] for one in scored], [one[2] for one in scored], corpus.manifest.labels)["loss"]


@pytest.mark.parametrize(
    ("zero", "ema"),
    [(0, 0.9), *(pytest.param(zero, None, marks=pytest.mark.chaos) for zero in range(4))],
)
def test_the_model_is_that_of_the_best_step(zero: int, ema: float | None, backbone: Path, tmp_path: Path) -> None:
    """With `ema` what is measured is the average, which is what is exported."""
    job = job_of(tmp_path, backbone, zero=zero, ema=ema)
    processes.run(2, train, job)
    result, measured = read_json(job.run / "result.json"), curve(job)
    assert result["best_step"] == min(measured, key=lambda steps: measured[steps])
    assert result["steps"] == result["best_step"] + STOP["patience"] * STOP["every"] < TOTAL
    assert max(measured) == result["steps"]
    assert loss_of_export(job) == pytest.approx(result["best_value"], abs=1e-5)
    assert abs(measured[result["steps"]] - result["best_value"]) > 1e-3
    # Kept, though newer ones than `keep` asks for were saved since.
    assert opened(place(job.run / "checkpoints", result["best_step"]), job.key).progress.best == result["best_step"]
    notes = "".join(path.read_text() for path in job.run.glob("notes*"))
    assert f"the model is that of step {result['best_step']}" in notes


@pytest.mark.chaos
@pytest.mark.timeout(600)
def test_a_killed_run_stops_where_the_undisturbed_one_does(backbone: Path, tmp_path: Path) -> None:
    still, disturbed = job_of(tmp_path, backbone), job_of(tmp_path, backbone)
    processes.run(2, train, still)
    lines = read_json(still.run / "result.json")["steps"] - 2
    with pytest.raises(processes.WorkerFailed):
        processes.run(2, train_until_killed, disturbed, [0, 1], False, lines, 0.0)
    processes.run(2, train, disturbed)
    assert read_json(disturbed.run / "result.json") == read_json(still.run / "result.json")


@pytest.mark.parametrize("zero", [0, 1])
@pytest.mark.chaos
@pytest.mark.timeout(600)
def test_the_best_step_of_two_workers_is_exported_by_one(zero: int, backbone: Path, tmp_path: Path) -> None:
    still, moved = job_of(tmp_path, backbone, zero=zero), job_of(tmp_path, backbone, zero=zero)
    processes.run(2, train, still)
    result = read_json(still.run / "result.json")
    with pytest.raises(processes.WorkerFailed):
        processes.run(2, train_until_killed, moved, [0, 1], False, result["steps"] - 2, 0.0)
    processes.run(1, train, moved)
    assert read_json(moved.run / "result.json")["best_step"] == result["best_step"]
    ours, theirs = (load_file(job.run / "model" / "model.safetensors") for job in (moved, still))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.chaos
@pytest.mark.timeout(600)
def test_a_machine_that_has_nothing_gets_the_best_step_from_the_mirror(backbone: Path, tmp_path: Path) -> None:
    """It is lost after the best step, which the newest checkpoint is not."""
    still = job_of(tmp_path, backbone, zero=0)
    processes.run(2, train, still)
    result = read_json(still.run / "result.json")
    checkpoints = {"every": 2, "keep": 1, "mirror": str(tmp_path / "mirror")}
    lost = job_of(tmp_path, backbone, zero=0, checkpoint=checkpoints)
    with pytest.raises(processes.WorkerFailed):
        processes.run(2, train_until_killed, lost, [0, 1], False, result["steps"] - 1, 0.0)
    for path in (lost.run / "checkpoints").iterdir():
        shutil.rmtree(path)
    processes.run(2, train, lost)
    assert read_json(lost.run / "result.json") == result


def without_the_best(job: Job) -> Progress:
    """What is left of a run of six steps whose third was the best when its checkpoint is gone."""
    record = Record(job)
    worker = Worker(job)
    found = Validation(job, worker, record).take_best(Progress(6, 48, 9, 9, best=3, best_value=0.5))
    end(worker)
    record.close()
    return found


def told(refused: list[Job], gone: Job) -> tuple[list[str], Progress]:
    """What each of some jobs is told, and `without_the_best`: in one process, which takes longer to start than they."""
    said = []
    for job in refused:
        with pytest.raises(UserError) as caught:
            train(job)
        said.append(str(caught.value))
    return said, without_the_best(gone)


@pytest.fixture(scope="module")
def by_accuracy(backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A run of 16 steps that stops for nothing and leaves the last one out."""
    stop = {"metric": "accuracy", "patience": 99, "every": 2}
    job = job_of(tmp_path_factory.mktemp("accuracy"), backbone, zero=0, epochs=2, lr=1e-2, early_stop=stop)
    skips.add(job.run, {"step": 15, "samples": []})
    processes.run(1, train, job)
    return job


def test_where_the_last_step_is_left_out_the_one_before_it_is_measured(by_accuracy: Job) -> None:
    assert list(curve(by_accuracy, "accuracy")) == [2, 4, 6, 8, 10, 12, 14, 15]


def train_until_saved(job: Job, steps: int) -> None:
    """Train until a step after the checkpoint of so many steps is done and the checkpoint is there."""

    def look(worker: Worker, done: int) -> None:
        if done == steps + 1:
            while not (job.run / "checkpoints" / f"step-{steps:08d}").is_dir():
                time.sleep(0.01)
            raise RuntimeError("enough")

    train(job, look)


def test_where_all_steps_since_the_checkpoint_are_left_out_what_it_holds_is_measured(
    backbone: Path, tmp_path: Path
) -> None:
    """As when the one step after it spiked: it was not the last one then, and is now."""
    stop = {"metric": "loss", "patience": 99, "every": 13}
    job = job_of(tmp_path, backbone, zero=0, epochs=2, early_stop=stop, checkpoint={"every": 6, "keep": 2})
    with pytest.raises(processes.WorkerFailed):
        processes.run(1, train_until_saved, job, 12)
    for step in range(12, 16):
        skips.add(job.run, {"step": step, "samples": []})
    processes.run(1, train, job)
    result = read_json(job.run / "result.json")
    assert (result["steps"], result["best_step"]) == (12, 12)
    assert result["best_value"] == pytest.approx(loss_of_export(job), rel=1e-5)


def test_where_more_is_better_the_best_step_has_most(by_accuracy: Job) -> None:
    measured, result = curve(by_accuracy, "accuracy"), read_json(by_accuracy.run / "result.json")
    assert result["best_value"] == max(measured.values()) > min(measured.values())
    assert result["best_step"] == max(measured, key=lambda steps: measured[steps])


def test_what_cannot_be_measured_is_refused_and_a_best_checkpoint_that_is_gone_is_not(
    backbone: Path, tmp_path: Path
) -> None:
    """It costs the best weights, and not the run."""
    unknown = job_of(tmp_path, backbone, zero=0, early_stop=STOP | {"metric": "rouge"})
    empty, gone = job_of(tmp_path, backbone, zero=0, validation=0), job_of(tmp_path, backbone, zero=0)
    said, left = processes.run(1, told, [unknown, empty], gone)[0]
    assert "no 'rouge' on this split; it has accuracy" in said[0]
    assert "validation split of topic has no sample" in said[1]
    assert not (unknown.run / "metrics.jsonl").read_text()
    assert left.measured == {}
    assert "the model is that of step 6, not of step 3" in "".join(path.read_text() for path in gone.run.glob("notes*"))
