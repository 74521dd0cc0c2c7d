"""Threads that make tables while the caller does something else."""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress

import pyarrow as pa

GRACE = 5.0
"""Seconds that the end waits for what a thread is at: a store that does not answer is left alone."""

Job = tuple[Callable[[], pa.Table], "Future[pa.Table]"]


class Loader:
    """Does jobs in the order given, in `threads` threads that end when it is closed or no longer used.

    Unlike those of a `concurrent.futures` pool they do not keep a process that ends waiting for jobs nobody wants.
    """

    def __init__(self, threads: int):
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        workers = [threading.Thread(target=_work, args=(self._jobs,), daemon=True) for _ in range(threads)]
        for worker in workers:
            worker.start()
        self.close = weakref.finalize(self, _stop, self._jobs, workers)
        """Ends the threads, each after the job it is at. Also called when the process ends."""

    def submit(self, make: Callable[[], pa.Table]) -> Future[pa.Table]:
        """Queue a job; it must not hold the loader's owner. A future that is cancelled in time is never begun."""
        if not self.close.alive:
            raise ValueError("closed: its threads have ended")
        future: Future[pa.Table] = Future()
        self._jobs.put((make, future))
        return future


def _work(jobs: queue.SimpleQueue[Job | None]) -> None:
    while (job := jobs.get()) is not None:
        make, future = job
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(make())
            except Exception as error:  # noqa: BLE001 whoever waits for the result gets it
                future.set_exception(error)
        del make, future, job  # an idle thread must not keep the last table alive


def _stop(jobs: queue.SimpleQueue[Job | None], workers: list[threading.Thread]) -> None:
    with suppress(queue.Empty):
        while job := jobs.get_nowait():
            job[1].cancel()
    for _ in workers:
        jobs.put(None)
    for worker in workers:
        if worker is not threading.current_thread():  # a cycle of garbage may be found in any thread
            worker.join(GRACE)
