"""With `train.ema` a run exports, measures and saves the moving average of its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import processes
import pytest
import torch
from engines import end
from pydantic import ValidationError
from small_job import small_job
from test_early_stop import STOP, job_of
from test_engine import steps_of
from test_kills import ended, train_until_killed

from gb_ray.train.checkpoints.checkpoint import newest
from gb_ray.train.checkpoints.saver import Saver
from gb_ray.train.job import Job
from gb_ray.train.loop import train
from gb_ray.train.whole import Whole
from gb_ray.train.worker import Worker

Weights = dict[str, torch.Tensor]


def exported(engine: Whole) -> Weights:
    return {name: value.clone() for name, value in engine.weights(lambda name: torch.zeros(()))}


def followed(job: Job, steps: int) -> tuple[Weights, Weights, bool]:
    """What is exported after so many steps, the formula over their weights, and whether looking changes nothing."""
    worker = Worker(job)
    engine: Any = worker.engine
    expected = {name: one.detach().double().clone() for name, one in engine._trained.items()}
    for number, step in enumerate(list(worker.steps())[:steps], start=1):
        micro, answers = worker.lay_out(step)
        worker.gradients(step, micro, answers)
        engine.step(1.0)
        decay = min(0.9, (1 + number) / (10 + number))
        for name, one in engine._trained.items():
            expected[name] = decay * expected[name] + (1 - decay) * one.detach()
    inputs = micro[0].groups[0].inputs
    engine.module.eval()
    before = engine(**inputs).logits
    with engine.averaged():
        inside = engine(**inputs).logits
    same = bool(torch.equal(engine(**inputs).logits, before)) and not torch.equal(inside, before)
    found = exported(engine)
    end(worker)
    return found, expected, same


def saved_and_resumed(job: Job) -> tuple[Weights, Weights]:
    """What is exported after six steps: at once, and from a checkpoint after three."""
    worker = Worker(job)
    steps_of(worker, 3)
    saver = Saver(job, worker.engine)
    progress = worker.progress
    saver.save(type(progress)(3, 24, 1, 1), wait=True)
    worker.engine.load(newest(job.run / "checkpoints", job.key))  # type: ignore[arg-type]
    for step in list(worker.steps())[3:6]:
        micro, answers = worker.lay_out(step)
        worker.gradients(step, micro, answers)
        worker.engine.step(1.0)
    assert isinstance(worker.engine, Whole)
    at_once = exported(worker.engine)
    end(worker)
    resumed = Worker(job)
    steps_of(resumed, 3)
    assert isinstance(resumed.engine, Whole)
    later = exported(resumed.engine)
    end(resumed)
    return at_once, later


def all_of(exact: Job, rounded: Job, resumed: Job) -> tuple[Any, Any, Any]:
    """In one process: starting it takes longer than all of them."""
    return followed(exact, 12), followed(rounded, 12), saved_and_resumed(resumed)


@pytest.fixture(scope="module")
def found(backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `followed` finds in each precision, and `saved_and_resumed`."""
    folder = tmp_path_factory.mktemp("average")
    settings: dict[str, Any] = {"zero": 0, "ema": 0.9, "epochs": 3}
    jobs = [small_job(folder, backbone, **settings, precision=precision) for precision in ("fp32", "bf16", "fp32")]
    return dict(zip(("fp32", "bf16", "resumed"), processes.run(1, all_of, *jobs)[0], strict=True))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_is_exported_is_the_average_of_the_weights_of_all_steps(precision: str, found: dict[str, Any]) -> None:
    exported, expected, same = found[precision]
    assert same
    for name, value in expected.items():
        torch.testing.assert_close(exported[name].double(), value, rtol=1e-5, atol=1e-6)


def test_a_resumed_run_has_the_same_average_bit_by_bit(found: dict[str, Any]) -> None:
    at_once, later = found["resumed"]
    assert at_once.keys() == later.keys()
    assert all(torch.equal(at_once[name], later[name]) for name in at_once)


@pytest.mark.chaos
@pytest.mark.timeout(600)
def test_a_killed_run_that_measures_and_averages_ends_with_the_same_bytes(backbone: Path, tmp_path: Path) -> None:
    settings = {"zero": 0, "ema": 0.9, "early_stop": STOP}
    still, disturbed = job_of(tmp_path, backbone, **settings), job_of(tmp_path, backbone, **settings)
    processes.run(2, train, still)
    for lines in (4, 8):
        with pytest.raises(processes.WorkerFailed):
            processes.run(2, train_until_killed, disturbed, [0, 1], False, lines, 0.0)
    processes.run(2, train, disturbed)
    assert ended(disturbed) == ended(still)


def test_it_is_refused_where_the_weights_are_shared_out(backbone: Path, tmp_path: Path) -> None:
    for refused in ({"zero": 1}, {"zero": "auto", "offload": {"optimizer": "cpu"}}):
        with pytest.raises(ValidationError, match="ema needs zero 0 and no offload"):
            small_job(tmp_path, backbone, ema=0.999, **refused)
