"""Several workers without Ray: processes of this machine that share a gloo group."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from typing import Any

LOADED = ["torch", "transformers.models.bert.modeling_bert", "deepspeed", "gb_ray.train.loop"]
"""Imported once, in a process from which all workers are forked: it takes seconds."""


class WorkerFailed(AssertionError):
    """With the traceback of the rank that failed first."""


def run(world: int, function: Callable[..., Any], *args: Any, timeout: float = 120) -> list[Any]:
    """What `function(*args)` returns on each of `world` ranks, in a gloo group, with one thread each.

    `function` is a module's own (it travels by name); arguments and results are pickled. Raises WorkerFailed when a
    rank raises or dies, and TimeoutError; no process is left in any case.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LOADED)
    with tempfile.TemporaryDirectory() as folder:
        pipes = [context.Pipe(duplex=False) for _ in range(world)]
        workers = [
            context.Process(target=_work, args=(rank, world, f"{folder}/store", pipe[1], function, args), daemon=True)
            for rank, pipe in enumerate(pipes)
        ]
        try:
            for worker, (_, end) in zip(workers, pipes, strict=True):
                worker.start()
                end.close()
            return _collect([pipe[0] for pipe in pipes], time.monotonic() + timeout)
        finally:
            for worker in workers:
                worker.kill()
                worker.join()


def _collect(pipes: list[Connection], deadline: float) -> list[Any]:
    results: dict[int, Any] = {}
    while len(results) < len(pipes):
        waiting = [pipe for rank, pipe in enumerate(pipes) if rank not in results]
        ready = wait(waiting, timeout=deadline - time.monotonic())
        if not ready:
            raise TimeoutError(f"ranks {sorted(set(range(len(pipes))) - set(results))} are not done")
        for pipe in ready:
            rank = pipes.index(pipe)
            try:
                error, results[rank] = pickle.loads(pipe.recv_bytes())
            except EOFError:
                error = "it died"
            if error:
                raise WorkerFailed(f"rank {rank}: {error}")
    return [results[rank] for rank in range(len(pipes))]


def _work(
    rank: int, world: int, store: str, pipe: Connection, function: Callable[..., Any], args: tuple[Any, ...]
) -> None:
    # DeepSpeed and torch read them; each worker is a process of its own.
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world), "OMP_NUM_THREADS": "1"}
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    try:
        dist.init_process_group(
            "gloo", init_method=f"file://{store}", rank=rank, world_size=world, timeout=timedelta(seconds=60)
        )
        outcome: tuple[str | None, Any] = None, function(*args)
        dist.barrier()
        dist.destroy_process_group()
    except BaseException:  # noqa: BLE001 - whatever it is, the test says it
        outcome = traceback.format_exc(), None
    pipe.send_bytes(pickle.dumps(outcome))
