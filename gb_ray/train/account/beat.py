"""Signs of life: what each worker does now, in a file that anybody can read at any time.

A worker writes at each change of phase, and a thread of it once a second: a few microseconds each, into mapped memory.
A process that is stopped, frozen or gone leaves its last words there.
"""

from __future__ import annotations

import mmap
import os
import resource
import socket
import struct
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NamedTuple

from gb_ray.train.account.gpu_meter import GpuMeter

if TYPE_CHECKING:  # it takes seconds, and those who only read beats do not need it
    import torch

FOLDER = "beats"
TICK_S = 1.0
_BODY = struct.Struct("<IIIIqddddQQQ12s64s64s?")
_CHECK = struct.Struct("<I")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TRIES = 5


class Beat(NamedTuple):
    """What a worker last said. Times are seconds since 1970, memory is in bytes."""

    rank: int
    world: int
    attempt: int
    pid: int
    step: int
    since: float
    """When it entered the phase."""
    moved: float
    """When it last got on: entered the phase, or was done with a part of it, as a micro-batch is of a step."""
    alive: float
    """When it last ran at all."""
    started: float
    memory: int
    """Resident now."""
    most_memory: int
    """Resident at most, so far."""
    gpu_memory: int
    """On its GPU at most, so far; 0 without one."""
    phase: str
    host: str
    where: str
    """The line of this package it was at, seen up to a second before `alive`."""
    waits: bool
    """Whether it was inside a collective, where it waits for the others."""


class Pulse:
    """Writes one worker's beat; every worker has one, from its start to its end."""

    def __init__(self, run: Path, rank: int, world: int, attempt: int):
        self._run, self._rank, self._world, self._attempt = run, rank, world, attempt
        self._host, self._pid, self._started = socket.gethostname(), os.getpid(), time.time()
        self._phase, self._step, self._since = "start", -1, self._started
        self._moved = self._since
        self._where, self._waits, self._memory = "", False, _resident()
        self._gpu: torch.device | None = None
        self._meter: GpuMeter | None = None
        self._lock, self._closing = threading.Lock(), threading.Event()
        self._thread = threading.get_ident()  # Ray Train does not train in the main one
        path = run / FOLDER / f"{self._rank:04d}"
        path.parent.mkdir(exist_ok=True)
        with path.open("w+b") as file:
            file.truncate(_CHECK.size + _BODY.size)
            self._file = mmap.mmap(file.fileno(), _CHECK.size + _BODY.size)
        self._write()
        self._ticker = threading.Thread(target=self._tick, name="pulse", daemon=True)
        self._ticker.start()

    def on(self, gpu: torch.device) -> None:
        """The worker has a GPU, whose memory and energy are looked at from here on."""
        import torch

        self._meter = GpuMeter(
            self._run, self._attempt, self._rank, f"GPU-{torch.cuda.get_device_properties(gpu).uuid}"
        )
        self._gpu = gpu

    def at(self, phase: str, step: int) -> None:
        """The worker enters a phase of a step."""
        self._since = self._moved = time.time()
        self._phase, self._step = phase, step
        self._write()

    def moved(self) -> None:
        """The worker is done with a part of its phase. Costs next to nothing: the thread writes it."""
        self._moved = time.time()

    def close(self) -> None:
        """The worker is done; its last beat says so."""
        self._closing.set()
        self._ticker.join()
        self.at("end", self._step)
        if self._meter:
            self._meter.write()

    def _tick(self) -> None:
        while not self._closing.wait(TICK_S):
            self._memory = _resident()
            self._where, self._waits = _where(sys._current_frames().get(self._thread))
            self._write()
            if self._meter:
                self._meter.write()

    def _write(self) -> None:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        with self._lock:
            body = _BODY.pack(
                *(self._rank, self._world, self._attempt, self._pid, self._step),
                *(self._since, self._moved, time.time(), self._started, self._memory, most, self._gpu_memory()),
                *(self._phase.encode(), self._host.encode()[:64], self._where.encode()[:64], self._waits),
            )
            self._file[:] = _CHECK.pack(zlib.crc32(body)) + body

    def _gpu_memory(self) -> int:
        if self._gpu is None:
            return 0
        import torch

        return int(torch.cuda.max_memory_allocated(self._gpu))


def beats(run: Path) -> list[Beat]:
    """The last beats of the newest attempt's workers, by rank; none before its first."""
    found = [beat for path in sorted((run / FOLDER).glob("*")) if (beat := _read(path))]
    attempt = max((beat.attempt for beat in found), default=0)
    return [beat for beat in found if beat.attempt == attempt]


def _read(path: Path) -> Beat | None:
    for _ in range(_TRIES):
        content = path.read_bytes()
        body = content[_CHECK.size :]
        if len(body) == _BODY.size and _CHECK.unpack_from(content)[0] == zlib.crc32(body):
            values = [_text(value) if isinstance(value, bytes) else value for value in _BODY.unpack(body)]
            return Beat._make(values)
        # It was being written just then.
        time.sleep(0.001)
    return None


def _text(field: bytes) -> str:
    return field.rstrip(b"\0").decode(errors="replace")


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE if sys.platform == "linux" else 0


def _where(frame: FrameType | None) -> tuple[str, bool]:
    """The innermost line of this package in a thread's stack, and whether the stack is inside a collective."""
    stack = list(_outward(frame))
    waits = any("/torch/distributed/" in name or "/deepspeed/comm/" in name for name, _, _ in stack)
    ours = next((f"{Path(name).name}:{line} {function}" for name, line, function in stack if "/gb_ray/" in name), "")
    return ours, waits


def _outward(frame: FrameType | None) -> Iterator[tuple[str, int, str]]:
    while frame is not None:
        yield frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name
        frame = frame.f_back
