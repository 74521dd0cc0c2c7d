"""What is asked of a run while it trains: a checkpoint, or an end from which it goes on."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processes import run
from small_job import small_job

from gb_ray.train import orders
from gb_ray.train.account.journal import newest
from gb_ray.train.checkpoints import checkpoint
from gb_ray.train.job import Job
from gb_ray.train.loop import train
from gb_ray.train.run import read_json

LONG: dict[str, Any] = {"epochs": 400, "checkpoint": {"every": 100_000, "keep": 5}}
Wait = Callable[[Callable[[], bool]], None]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("orders")


def train_meanwhile(job: Job, world: int, ask: Callable[[Wait], None]) -> None:
    """Train in other processes while `ask` runs here."""
    failed: list[BaseException] = []

    def work() -> None:
        try:
            run(world, train, job)
        except BaseException as error:  # noqa: BLE001 - it is raised again in the test's thread
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()

    def wait(until: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not until():
            assert not failed and time.monotonic() < deadline, failed
            time.sleep(0.01)

    ask(wait)
    thread.join(60)
    assert not failed and not thread.is_alive()


def steps_done(job: Job) -> int:
    return next((entry["step"] + 1 for entry in newest(job.run / "metrics.jsonl", 1)), 0)


def digest_of_model(job: Job) -> str:
    return str(read_json(job.run / "result.json")["weights_sha256"])


def test_a_run_saves_and_stops_when_it_is_asked_and_goes_on_to_the_same_bytes(place: Path, backbone: Path) -> None:
    train_it = {"epochs": 1, "checkpoint": {"every": 100_000, "keep": 5}}
    undisturbed = small_job(place, backbone, **train_it)
    run(1, train, undisturbed)

    job = small_job(place, backbone, **train_it)
    # All are there before the first step: the same step meets them; but who asked for one went away again.
    save, stop, gone = (orders.ask(job.run, what) for what in ("save", "stop", "save"))
    gone.unlink()
    run(1, train, job)
    assert read_json(save)["steps"] == read_json(stop)["steps"] == 1
    assert not (job.run / "result.json").exists()
    stopped = read_json(job.run / "stopped.json")
    assert stopped["steps"] == steps_done(job) == 1
    assert Path(stopped["checkpoint"]).is_dir()
    assert checkpoint.newest(job.run / "checkpoints", job.key).progress.steps == 1  # type: ignore[union-attr]

    orders.forget(job.run)
    run(1, train, job)
    assert steps_done(job) == 8
    assert digest_of_model(job) == digest_of_model(undisturbed)
    assert [line["step"] for line in newest(job.run / "metrics.jsonl", 100)] == list(range(8))


def test_a_request_in_the_middle_is_met_by_the_next_step(place: Path, backbone: Path) -> None:
    job = small_job(place, backbone, **LONG)
    asked: dict[str, int] = {}

    def ask(wait: Wait) -> None:
        wait(lambda: steps_done(job) >= 5)
        before = steps_done(job)
        save = orders.ask(job.run, "save")
        wait(lambda: "steps" in read_json(save))
        asked["save"] = read_json(save)["steps"]
        wait(lambda: checkpoint.reached(job.run / "checkpoints") == asked["save"])
        assert before < asked["save"]
        stop = orders.ask(job.run, "stop")
        wait(lambda: (job.run / "stopped.json").exists())
        asked["stop"] = read_json(stop)["steps"]

    train_meanwhile(job, 2, ask)
    assert read_json(job.run / "stopped.json")["steps"] == asked["stop"] > asked["save"]
    found = checkpoint.newest(job.run / "checkpoints", job.key)
    assert found and found.progress.steps == asked["stop"] == steps_done(job)
    # One save each, and none again at later steps.
    assert len(list((job.run / "checkpoints").glob("step-*"))) == 2


def test_a_stop_at_the_last_step_is_the_end_of_the_run(place: Path, backbone: Path) -> None:
    job = small_job(place, backbone, batch=64, epochs=1)
    orders.ask(job.run, "stop")
    run(1, train, job)
    assert (job.run / "result.json").is_file() and not (job.run / "stopped.json").exists()
    # A driver that died before it saw the result starts again; nothing is left to train.
    shutil.rmtree(job.run / "model")
    run(1, train, job)
    assert read_json(job.run / "result.json")["steps"] == 1


def test_the_journal_tells_how_fast_and_with_how_much_it_went(place: Path, backbone: Path) -> None:
    job = small_job(place, backbone, epochs=1, checkpoint={"every": 3, "keep": 1})
    run(2, train, job)
    lines = [json.loads(line)["metrics"] for line in (job.run / "metrics.jsonl").open()]
    assert {"loss", "lr", "grad_norm", "tokens_per_s", "padding", "memory", "data_s", "compute_s"} <= lines[0].keys()
    assert all(0 < metrics["mfu"] < metrics["mfu_attention"] < 1 for metrics in lines)
    assert lines[0]["peak_flops"] == lines[-1]["peak_flops"] > 1e9
    assert lines[-1]["memory"] > 1e8
    assert "checkpoint_s" not in lines[2] and "checkpoint_s" in lines[3]  # told with the step after it
