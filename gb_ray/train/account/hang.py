"""Notices workers that hang, says which one the others wait for, and ends it."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from gb_ray.train.account import notes
from gb_ray.train.account.beat import Beat, beats
from gb_ray.train.account.quiet import Quiet

LONGER = {"start": 10, "evaluate": 10, "checkpoint": 10, "export": 10}
"""How many times as long these phases may take: they load, measure, write or compile for a while."""
FIRST = 10
"""The same of an attempt's first step: it compiles, and nobody knows yet how long one takes."""
SLOW = 5
"""A worker may work as many times as long as it did before, until it says again that it gets on."""
LOOK_EVERY_S = 1.0
ORDER = ("start", "data", "compute", "evaluate", "checkpoint", "export", "end")


class Hang:
    """The workers to blame, and how to say it."""

    def __init__(self, guilty: list[Beat], others: list[Beat], now: float):
        self.guilty, self._others, self._now = guilty, others, now

    def text(self, processes: dict[int, str]) -> str:
        """One line. `processes` has the states of the guilty ones' processes by rank."""
        blamed = "; ".join(self._of(beat, processes[beat.rank]) for beat in self.guilty)
        waiting = "; ".join(f"worker {beat.rank} waits for it in {_place(beat)}" for beat in self._others)
        return f"{blamed}; {waiting}" if waiting else blamed

    def _of(self, beat: Beat, process: str) -> str:
        place = f" ({_place(beat)})" if beat.where else ""
        return (
            f"worker {beat.rank} has been at {_moment(beat)} for {self._now - beat.since:.0f} s{place}, "
            f"its process {beat.pid} on {beat.host} is {process}"
        )


def find(seen: list[Beat], now: float, hang_s: float, longest_s: float | None) -> Hang | None:
    """Whether the workers of an attempt hang, and who: a worker that

    - has not run at all for too long, or else
    - is behind all the others, or else
    - is not in a collective, while others are and wait there. Where none can be told from the others, it is all.

    One that is waited for and gets on, a micro-batch after another, is slow and does not hang. `longest_s` is how long
    workers are used to work before they say so (`Quiet`).
    """
    if not seen or len(seen) < seen[0].world:
        return None  # they are only just starting
    frozen = [beat for beat in seen if beat.phase != "end" and now - beat.alive > hang_s * LONGER.get(beat.phase, 1)]
    times = FIRST if longest_s is None else 1
    patience = max(hang_s, SLOW * (longest_s or 0.0))
    late = [
        beat for beat in seen if beat.phase != "end" and now - beat.moved > patience * LONGER.get(beat.phase, times)
    ]
    if not frozen and not late:
        return None
    least = min(_reached(beat) for beat in seen)
    behind = [beat for beat in seen if _reached(beat) == least]
    outside = [beat for beat in behind if not beat.waits]
    still = [beat for beat in outside or behind if now - beat.moved > patience * times]
    guilty = frozen or still
    return Hang(guilty, [beat for beat in seen if beat not in guilty], now) if guilty else None


class Watchman:
    """The driver's: call `look` often. Ray must be up."""

    def __init__(self, run: Path, hang_s: float):
        self._run, self._hang_s = run, hang_s
        self._looked = 0.0
        self._over = 0
        """The attempts up to this one are dealt with."""
        self._quiet = Quiet()

    def look(self) -> None:
        """Name workers that hang and end them, so that Ray Train starts all of them again."""
        now = time.time()
        if now - self._looked < LOOK_EVERY_S:
            return
        self._looked = now
        seen = [beat for beat in beats(self._run) if beat.attempt > self._over]
        found = find(seen, now, self._hang_s, self._quiet.longest(seen, now))
        if found:
            self._over = seen[0].attempt
            processes = {beat.rank: _on(beat.host, _state, beat) for beat in found.guilty}
            if all(state == "gone" for state in processes.values()):
                return  # it died, and Ray Train knows
            text = f"hanging: {found.text(processes)}; it is ended, and training starts again"
            notes.leave(self._run, text, hang=[beat.rank for beat in found.guilty])
            for beat in found.guilty:
                _on(beat.host, _end, beat)


def _reached(beat: Beat) -> tuple[int, int]:
    return beat.step, ORDER.index(beat.phase)


def _moment(beat: Beat) -> str:
    return beat.phase if beat.step < 0 else f"{beat.phase} of step {beat.step}"


def _place(beat: Beat) -> str:
    return beat.where or _moment(beat)


def _on(host: str, function: Callable[[Beat], str], beat: Beat) -> str:
    """Call a function on the machine where a worker is."""
    if host == socket.gethostname():
        return function(beat)
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    for node in ray.nodes():
        if node["Alive"] and node["NodeManagerHostname"] == host:
            place = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            task = ray.remote(function).options(num_cpus=0, max_retries=0, scheduling_strategy=place)
            with suppress(ray.exceptions.RayError):
                return str(ray.get(task.remote(beat), timeout=10))
    return "gone"


def _state(beat: Beat) -> str:
    """Of a worker's process: "stopped", "sleeping" and so on, or "gone"."""
    for process in _process(beat):
        return str(process.status())
    return "gone"


def _end(beat: Beat) -> str:
    for _ in _process(beat):
        os.kill(beat.pid, signal.SIGKILL)
    return "gone"


def _process(beat: Beat) -> Iterator[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(beat.pid)
        # Another process may have its number by now.
        if process.create_time() <= beat.started and process.status() != psutil.STATUS_ZOMBIE:
            yield process
