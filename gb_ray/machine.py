"""The machine and the Ray this process works on."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from gb_ray.section import UserError


class Stopped(KeyboardInterrupt):
    """Somebody asked this process to end: Ctrl-C, or SIGTERM from `ray job stop`."""


_asked: list[str] = []


def stop_on_signals() -> None:
    """Turn SIGTERM and SIGINT into `Stopped` in the main thread, so that `finally` blocks run."""

    def stop(number: int, frame: FrameType | None) -> None:
        # A second signal must not interrupt the cleaning up that the first one began.
        if not _asked:
            _asked.append(signal.Signals(number).name)
            raise Stopped(_asked[0])

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)


def check_stop() -> None:
    """Raises `Stopped` if somebody asked: Python drops what a signal raises inside a destructor."""
    if _asked:
        raise Stopped(_asked[0])


def wait_for_stop() -> None:
    """Until somebody asks this process to end."""
    with suppress(Stopped):
        while True:
            check_stop()
            time.sleep(1)


@contextmanager
def ray_up(where: str | None, log_level: str = "WARNING") -> Iterator[None]:
    """A Ray to work on, gone (or left, if it is a cluster) at the end.

    where: "local" starts one for this process alone, beside any other; an address or "auto" joins a cluster; None joins
    the cluster of the job this process runs in, or else starts a local one, unless a Ray already runs on this machine:
    then the choice is the user's and UserError says so.
    """
    address = where or os.environ.get("RAY_ADDRESS") or _only_if_alone()
    # One thread a worker: two busy processes with two threads each on two cores ran ten times slower.
    environment = {
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONPATH": os.pathsep.join(sys.path),
        # On a busy machine a proxy takes longer than Serve's 5 s to come up, and Serve would kill it for that.
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
    }
    # Ray would hide GPUs from tasks that ask for none, and warns that this will change.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    # It says at every start that tokens are asked for, which is what we want.
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)
    options: dict[str, Any] = {}
    if address == "local":
        # Workers are niced by default, for a node shared with daemons; here they are what the user waits for.
        options = {"include_dashboard": False, "_system_config": {"worker_niceness": 0}}
    try:
        ray.init(
            address=address,
            namespace="gb_ray",
            log_to_driver=False,
            logging_level=logging.getLevelName(log_level),
            runtime_env={"env_vars": environment},
            **options,
        )
    except ConnectionError as error:
        raise UserError(f"no Ray answers at {address!r}: {error}. Start one, or pass --ray local") from None
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    # ray.init puts its own SIGTERM handler in place, which skips our cleaning up.
    stop_on_signals()
    try:
        check_stop()
        yield
    finally:
        ray.shutdown()


def _only_if_alone() -> str:
    running = ray_here()
    if running is not None:
        raise UserError(
            f"a Ray already runs on this machine (gcs_server, pid {running.pid}): pass --ray auto to work on it, "
            "or --ray local to start another beside it"
        )
    return "local"


def ray_here() -> psutil.Process | None:
    """The head process of a Ray that runs on this machine."""
    for process in psutil.process_iter(["name"]):
        if process.info["name"] == "gcs_server":
            return process
    return None


def require(cpus: int, gpus: int, what: str, fix: str) -> None:
    """Raises UserError when the Ray cluster could never run `what`: a wait without end is not an answer."""
    import ray

    have = ray.cluster_resources()
    for kind, need in (("CPU", cpus), ("GPU", gpus)):
        if have.get(kind, 0) < need:
            raise UserError(f"{what} needs {need} {kind}s, this Ray has {have.get(kind, 0):g}; {fix}")


def cause(error: Exception) -> Exception:
    """What was raised in a task, of an error that a driver gets of it: Ray's own text is where in the code that was."""
    ray = sys.modules.get("ray")  # without it there were no tasks, and it takes a second to import
    return error.cause if ray and isinstance(error, ray.exceptions.RayTaskError) else error


def has_bf16() -> bool:
    """Whether this machine computes bf16 in hardware."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    flags = Path("/proc/cpuinfo")
    return flags.is_file() and any(flag in flags.read_text() for flag in ("avx512_bf16", "amx_bf16"))


def port_owner(port: int) -> str | None:
    """Who listens on a TCP port of this machine: "name (pid 12)", or None when nobody does."""
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,):
            if connection.pid is None:
                return "a process of another user"
            return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return None
