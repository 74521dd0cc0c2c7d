"""Signs of life, who hangs, and what `gb watch` shows."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import count
from pathlib import Path

import pytest
from processes import run
from small_job import small_job

from gb_ray.train.account import hang, watch
from gb_ray.train.account.beat import TICK_S, Beat, Pulse, beats
from gb_ray.train.account.hang import find
from gb_ray.train.account.quiet import Quiet
from gb_ray.train.job import Job
from gb_ray.train.loop import train

NOW = 1_000_000.0


def beat(
    rank: int,
    step: int,
    phase: str,
    ago: float,
    silent: float = 0.5,
    waits: bool = False,
    world: int = 2,
    moved: float | None = None,
) -> Beat:
    """A worker that entered the phase `ago` seconds ago, last ran `silent` and got on `moved` seconds ago."""
    times = {"since": NOW - ago, "moved": NOW - (ago if moved is None else moved)}
    times |= {"alive": NOW - silent, "started": NOW - 9999}
    memory = {"memory": 1, "most_memory": 2, "gpu_memory": 0}
    place = {"host": "node", "where": "engine.py:60 backward", "waits": waits}
    return Beat(rank=rank, world=world, attempt=1, pid=100 + rank, step=step, phase=phase, **times, **memory, **place)


def guilty(*seen: Beat, hang_s: float = 60, longest: float | None = 1.0) -> list[int] | None:
    found = find(list(seen), NOW, hang_s, longest)
    return found and [one.rank for one in found.guilty]


def test_a_worker_that_does_not_run_at_all_is_named_and_not_those_who_wait_for_it() -> None:
    frozen = beat(1, 37, "compute", ago=61, silent=61)
    waiting = beat(0, 37, "compute", ago=62, waits=True)
    assert guilty(waiting, frozen) == [1]
    found = find([waiting, frozen], NOW, 60, 1.0)
    assert found and found.text({1: "stopped"}) == (
        "worker 1 has been at compute of step 37 for 61 s (engine.py:60 backward), its process 101 on node is stopped; "
        "worker 0 waits for it in engine.py:60 backward"
    )


@pytest.mark.parametrize(
    ("seen", "named"),
    [
        ((beat(0, 38, "data", 61), beat(1, 37, "checkpoint", 65)), [1]),  # it is behind
        ((beat(0, 37, "compute", 61, waits=True), beat(1, 37, "data", 61)), [1]),  # a phase behind
        ((beat(0, 37, "compute", 61), beat(1, 37, "compute", 61, waits=True)), [0]),  # not in the collective
        ((beat(0, 37, "compute", 61), beat(1, 37, "compute", 61)), [0, 1]),  # nobody can tell
        ((beat(0, 37, "compute", 59), beat(1, 37, "compute", 59)), None),  # not yet
        ((beat(0, 37, "compute", 59, silent=61), beat(1, 37, "data", 0)), [0]),  # it is frozen, whatever the rest does
        ((beat(0, -1, "start", 300), beat(1, -1, "start", 300)), None),  # loading takes longer
        ((beat(0, -1, "start", 601), beat(1, -1, "start", 601, waits=True)), [0]),
        ((beat(0, 49, "checkpoint", 300), beat(1, 49, "checkpoint", 300)), None),
        ((beat(0, 90, "export", 300), beat(1, 90, "end", 300)), None),
        ((beat(0, 90, "end", 9000, silent=9000), beat(1, 90, "end", 9000, silent=9000)), None),
        ((beat(0, 37, "compute", 61, silent=61),), None),  # the other is only just starting
        ((), None),
    ],
)
def test_who_hangs(seen: tuple[Beat, ...], named: list[int] | None) -> None:
    assert guilty(*seen) == named


def test_a_worker_that_gets_on_micro_batch_by_micro_batch_is_slow_and_one_that_stands_in_one_hangs() -> None:
    waiting = beat(0, 37, "compute", 500, moved=200, waits=True)
    assert guilty(waiting, beat(1, 37, "compute", 500, moved=59)) is None
    assert guilty(waiting, beat(1, 37, "compute", 500, moved=61)) == [1]


def test_the_first_step_of_an_attempt_may_take_longer() -> None:
    first = beat(0, 0, "compute", 599), beat(1, 0, "compute", 599, waits=True)
    assert guilty(*first, longest=None) is None
    assert guilty(*first) == [0]
    assert guilty(*(one._replace(moved=NOW - 601) for one in first), longest=None) == [0]
    assert guilty(beat(0, 0, "compute", 61, silent=61), first[1], longest=None) == [0]  # it does not run at all
    assert guilty(beat(0, -1, "start", 601), beat(1, -1, "start", 601, waits=True), longest=None) == [0]


def test_how_long_a_worker_may_work_follows_from_how_long_it_did_in_this_attempt() -> None:
    quiet, clock = Quiet(), count(100)

    def seen(step: int, phase: str, at: float, attempt: int = 1, later: float = 0) -> float | None:
        now = next(clock) + later
        return quiet.longest([beat(0, step, phase, 0, world=1)._replace(moved=at, attempt=attempt)], now)

    assert seen(-1, "start", 0) is None
    assert [seen(5, "data", 100), seen(5, "compute", 101), seen(5, "compute", 141)] == [None, None, None]
    assert seen(6, "data", 142) == 40  # its first step, which compiled, is all there is
    assert [seen(6, "compute", 143), seen(6, "compute", 155), seen(6, "evaluate", 157)] == [40, 40, 40]
    assert seen(7, "data", 400) == 12  # to measure is another thing
    assert seen(7, "compute", 420) == 20
    assert seen(9, "compute", 1020, later=600) == 20  # it was the driver that did not look
    assert seen(7, "data", 1000, attempt=2) is None


def test_steps_that_take_long_may() -> None:
    slow = beat(0, 37, "compute", 100), beat(1, 37, "compute", 100, waits=True)
    assert guilty(*slow, longest=30) is None
    assert guilty(*slow, longest=19) == [0]


def alternate(run_folder: Path, seconds: float) -> int:
    """Beats whose step and phase belong together, as fast as they come. Returns how many a second."""
    pulse = Pulse(run_folder, 0, 1, 1)
    began, count = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        count += 1
        pulse.at("data" if count % 2 else "compute", count)
    pulse.close()
    return int(count / seconds)


def test_a_beat_is_cheap_and_never_read_half_written(tmp_path: Path) -> None:
    import threading

    rates: list[int] = []
    thread = threading.Thread(target=lambda: rates.extend(run(1, alternate, tmp_path, 1.5)))
    thread.start()
    seen = 0
    while thread.is_alive():
        for one in beats(tmp_path) if (tmp_path / "beats").is_dir() else []:
            assert one.phase in ("start", "end") or one.phase == ("data" if one.step % 2 else "compute")
            seen += 1
    thread.join()
    assert seen > 100
    assert rates[0] > 5_000  # each in far less than a thousandth of any step


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, backbone: Path) -> Job:
    job = small_job(tmp_path_factory.mktemp("watch"), backbone, epochs=1)
    run(2, train, job)
    return job


def signs(job: Job) -> Counter[int]:
    """How often a worker says in each step that it gets on, while it trains."""
    said: Counter[int] = Counter()

    def moved(self: Pulse) -> None:
        said[self._step] += 1

    Pulse.moved = moved  # type: ignore[method-assign]
    train(job)
    return said


def test_a_worker_says_that_it_gets_on_after_each_micro_batch(tmp_path: Path, backbone: Path) -> None:
    job = small_job(tmp_path, backbone, epochs=1, micro_tokens=64)
    (said,) = run(1, signs, job)
    assert said.keys() == set(range(8)) and min(said.values()) > 1


def gets_on(folder: Path) -> tuple[Beat, Beat]:
    pulse = Pulse(folder, 0, 1, 1)
    pulse.at("compute", 3)
    before = beats(folder)[0]
    time.sleep(0.1)
    pulse.moved()
    time.sleep(TICK_S + 0.2)
    return before, beats(folder)[0]


def test_that_a_worker_got_on_is_read_within_a_second_and_it_is_as_long_in_its_phase(tmp_path: Path) -> None:
    ((before, after),) = run(1, gets_on, tmp_path)
    assert before.moved == before.since == after.since < after.moved


def test_every_worker_leaves_its_last_sign(trained: Job) -> None:
    seen = beats(trained.run)
    assert [one.rank for one in seen] == [0, 1]
    assert all((one.world, one.attempt, one.step, one.phase) == (2, 1, 7, "end") for one in seen)
    assert all(one.most_memory > 1e8 for one in seen)
    assert len({one.pid for one in seen}) == 2


def test_the_beats_of_an_earlier_attempt_are_not_of_this_one(trained: Job, tmp_path: Path) -> None:
    (tmp_path / "attempts").mkdir()
    (tmp_path / "attempts" / "0001.json").write_text("{}")
    (tmp_path / "beats").mkdir()
    (tmp_path / "beats" / "0001").write_bytes((trained.run / "beats" / "0001").read_bytes())
    run(1, alternate_as_second, tmp_path)
    assert [(one.rank, one.attempt) for one in beats(tmp_path)] == [(0, 2)]


def alternate_as_second(folder: Path) -> None:
    Pulse(folder, 0, 1, 2).close()


def test_the_present_state_is_one_object_and_a_screen(trained: Job) -> None:
    state = json.loads((trained.run / "run.json").read_text()) | {"total": 8}
    (trained.run / "run.json").write_text(json.dumps(state))
    now = json.loads(json.dumps(watch.present(trained.run)))
    assert now["state"] == "killed"  # it says that it runs, and nobody holds its lock
    assert (now["step"], now["total"], now["attempts"]) == (8, 8, 1)
    assert 0 < now["metrics"]["mfu"] < now["metrics"]["mfu_attention"] < 1
    assert now["tokens_per_s"] > 0 and 0 <= now["metrics"]["padding"] < 1
    assert 0 < now["goodput"] < 1
    assert now["checkpoint"].endswith("step-00000004")
    screen = "\n".join(watch.lines(now))
    for word in ("step       8/8", "loss", "tokens/s", "padding", "of peak", "goodput", "checkpoint"):
        assert word in screen
    assert len(watch.line(now).splitlines()) == 1


def test_a_process_is_what_it_is_and_ended_by_its_own_number(tmp_path: Path) -> None:
    sleeper = subprocess.Popen(
        [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"],
        text=True,
        stdout=subprocess.PIPE,
    )
    assert sleeper.stdout and sleeper.stdout.readline() == "up\n"
    its = beat(0, 1, "compute", 70)._replace(pid=sleeper.pid, started=time.time())
    try:
        time.sleep(0.2)  # from its word to its sleep
        assert hang._state(its) == "sleeping"
        sleeper.send_signal(signal.SIGSTOP)
        time.sleep(0.1)
        assert hang._state(its) == "stopped"
        other = its._replace(started=time.time() - 3600)  # a process that came later has the number
        assert hang._state(other) == "gone"
        hang._end(other)
        assert sleeper.poll() is None
        hang._end(its)
        assert sleeper.wait(5) == -signal.SIGKILL
        assert hang._state(its) == "gone"
    finally:
        sleeper.kill()
