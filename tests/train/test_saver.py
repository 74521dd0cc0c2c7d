"""A checkpoint is what the weights were when it was asked for, and a save that fails ends nothing."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import processes
import pytest
import torch
import torch.distributed as dist
from small_job import small_job

from gb_ray.train.account import notes
from gb_ray.train.checkpoints import checkpoint, saver
from gb_ray.train.checkpoints.checkpoint import STATE, Progress, account, newest
from gb_ray.train.checkpoints.saver import Saver
from gb_ray.train.job import Job
from gb_ray.train.loop import train
from gb_ray.train.run import read_json
from gb_ray.train.worker import Worker

KEY = "k" * 64
FILE_OPERATIONS = ("open", "write", "fsync", "mkdir", "rename", "replace", "unlink", "rmdir", "close")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("saver")


def progress(steps: int) -> Progress:
    return Progress(steps, steps, steps, steps)


def take(worker: Worker, first: int, last: int) -> None:
    """Take the steps [first, last), as the loop does."""
    for step in list(worker.steps())[first:last]:
        worker.gradients(step, *worker.lay_out(step))
        worker.engine.step(1.0)


def saves_and_goes_on(job: Job) -> float:
    """How far the saved weights are from those of the moment of the save, while later steps change them."""
    worker = Worker(job)
    ours = Saver(job, worker.engine)
    take(worker, 0, 2)
    before = {name: value.clone() for name, value in worker.engine.module.state_dict().items()}
    ours.save(progress(2), wait=False)
    take(worker, 2, 4)
    now = worker.engine.module.state_dict()
    assert any(not torch.equal(now[name], before[name]) for name in before)
    ours.close()
    found = newest(job.run / "checkpoints", KEY)
    assert found and found.progress == progress(2)
    file, key = ("mp_rank_00_model_states.pt", "module") if job.zero else ("whole.pt", "weights")
    saved = torch.load(found.path / STATE / file, weights_only=False)[key]
    return max(float((saved[name] - before[name]).abs().max()) for name in before)


@pytest.mark.parametrize("zero", [0, pytest.param(2, marks=pytest.mark.chaos)])
def test_later_steps_do_not_reach_into_a_save_that_is_being_written(zero: int, place: Path, backbone: Path) -> None:
    assert processes.run(2, saves_and_goes_on, small_job(place, backbone, zero=zero)) == [0.0, 0.0]


def saves_on_a_full_disk(job: Job, limited: list[int]) -> None:
    """Three saves; at the second, `limited` ranks cannot write a file of more than 1 MB."""
    worker = Worker(job)
    ours = Saver(job, worker.engine)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    for steps in (1, 2, 3):
        take(worker, steps - 1, steps)
        if steps == 2 and dist.get_rank() in limited:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, unlimited[1]))
        ours.save(progress(steps), wait=True)
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    ours.close()


@pytest.mark.parametrize("limited", [[0], pytest.param([1], marks=pytest.mark.chaos)])
def test_a_save_without_space_is_given_up_with_a_line_and_the_next_one_works(
    limited: list[int], place: Path, backbone: Path
) -> None:
    job = small_job(place, backbone, checkpoint={"every": 4, "keep": 3})
    processes.run(2, saves_on_a_full_disk, job, limited)
    names = sorted(path.name for path in (job.run / "checkpoints").iterdir())
    assert names == ["step-00000001", "step-00000003"]
    assert all(one["ok"] for one in account(job.run))
    (note,) = notes.all_of(job.run)
    assert note["gave_up"] == 2 and f"worker {limited[0]}" in note["text"] and "File too large" in note["text"]


def trains_on_a_full_disk(job: Job) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    # The exported model is smaller than the optimizer's state.
    resource.setrlimit(resource.RLIMIT_FSIZE, (5 << 20, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    train(job)


def test_a_run_that_can_save_nothing_ends_all_the_same(place: Path, backbone: Path) -> None:
    job, other = small_job(place, backbone), small_job(place, backbone)
    processes.run(2, trains_on_a_full_disk, job)
    processes.run(2, train, other)
    assert not list((job.run / "checkpoints").iterdir())
    assert [one["steps"] for one in account(job.run)] == [12, 8, 4] and not any(one["ok"] for one in account(job.run))
    assert (
        read_json(job.run / "result.json")["weights_sha256"] == read_json(other.run / "result.json")["weights_sha256"]
    )


def one_save(folder: Path, steps: int) -> None:
    """What the saver's thread does."""
    checkpoint.sweep(folder)
    path = checkpoint.part(folder, steps, "b")
    state = {"weights": torch.full((2000,), float(steps)), "names": ["a"]}
    checkpoint.commit(path, 2, progress(steps), KEY, {f"{STATE}/one.pt": saver.write(path / STATE / "one.pt", state)})
    checkpoint.prune(folder, 2)


def dies(before: int) -> Any:
    """For sys.setprofile: ends the process, as SIGKILL does, before its n-th file operation."""
    count = 0

    def watch(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        if event == "c_call" and argument.__name__ in FILE_OPERATIONS:
            count += 1
            if count == before:
                os._exit(9)

    return watch


def dies_at_every_operation(place: Path) -> list[tuple[int, bool]]:
    """For each moment of a save at which it was killed: the newest checkpoint then, and whether a later save works."""
    ready = place / "ready"
    for steps in (1, 2, 3):
        one_save(ready, steps)
    outcomes, status = list[tuple[int, bool]](), 9
    while status == 9:
        folder = Path(shutil.copytree(ready, place / f"killed-{len(outcomes)}"))
        child = os.fork()
        if child == 0:
            sys.setprofile(dies(len(outcomes) + 1))
            one_save(folder, 4)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        found = newest(folder, KEY)
        reached = found.progress.steps if found else 0
        one_save(folder, 5)
        left = sorted(path.name for path in folder.iterdir())
        outcomes.append((reached, len(left) == 2 and left[-1] == "step-00000005" and bool(newest(folder, KEY))))
    return outcomes


def test_a_save_that_is_killed_at_any_file_operation_leaves_the_last_checkpoint_or_the_new_one(tmp_path: Path) -> None:
    (outcomes,) = processes.run(1, dies_at_every_operation, tmp_path)
    assert len(outcomes) > 30
    reached = [steps for steps, _ in outcomes]
    assert reached == sorted(reached) and set(reached) == {3, 4}
    assert all(goes_on for _, goes_on in outcomes)


def is_killed_while_it_saves(job: Job, moment: int) -> None:
    worker = Worker(job)
    ours = Saver(job, worker.engine)
    take(worker, 0, 1)
    ours.save(progress(1), wait=True)
    take(worker, 1, 2)
    threading.setprofile(dies(moment))
    ours.save(progress(2), wait=True)


@pytest.mark.chaos
@pytest.mark.parametrize("moment", [1, 2, 5, 9, 15, 22, 30, 36, 40, 44, 48, 52])
def test_a_worker_that_is_killed_while_it_saves_leaves_a_whole_checkpoint(
    moment: int, place: Path, backbone: Path
) -> None:
    job = small_job(place, backbone)
    with pytest.raises(processes.WorkerFailed, match="died"):
        processes.run(1, is_killed_while_it_saves, job, moment)
    found = newest(job.run / "checkpoints", KEY)
    assert found and found.progress.steps in (1, 2)
    processes.run(1, train, job)
    assert read_json(job.run / "result.json")["steps"] == 16
