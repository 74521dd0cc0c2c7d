"""Nothing but the tokens: clean texts are in memory, tokens are counted and forgotten."""

from __future__ import annotations

import multiprocessing
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pyarrow.parquet as pq
from peers.work import CORES, MIN_CHARS, Outcome, clean, files, tokenizer

BATCH = 1000
TOKENIZER = tokenizer()


def texts() -> tuple[int, list[str]]:
    """How many rows there are, and the clean texts that are long enough."""
    raw = [text for file in files() for text in pq.read_table(file, columns=["text"])["text"].to_pylist()]
    return len(raw), [text for text in map(clean, raw) if len(text) >= MIN_CHARS]


def tokens(some: list[str]) -> int:
    """How many there are in these texts."""
    batches = (some[start : start + BATCH] for start in range(0, len(some), BATCH))
    return sum(len(encoding) for batch in batches for encoding in TOKENIZER.encode_batch_fast(batch))


def threads(folder: Path) -> Outcome:
    """One process, a thread a core: for TOKENIZERS_PARALLELISM=true."""
    rows, found = texts()
    started = time.perf_counter()
    count = tokens(found)
    return outcome(time.perf_counter() - started, rows, len(found), count)


def processes(folder: Path) -> Outcome:
    """A process a core, each with its share of the texts; their start is not counted."""
    rows, found = texts()
    context = multiprocessing.get_context("fork")
    ready, counts = context.Barrier(CORES + 1), context.Queue()

    def share(number: int, ready: Barrier) -> None:
        mine = found[number::CORES]
        ready.wait()
        counts.put(tokens(mine))

    workers = [context.Process(target=share, args=(number, ready)) for number in range(CORES)]
    for worker in workers:
        worker.start()
    ready.wait()
    started = time.perf_counter()
    count = sum(counts.get() for _ in workers)
    seconds = time.perf_counter() - started
    for worker in workers:
        worker.join()
    return outcome(seconds, rows, len(found), count)


def outcome(seconds: float, rows: int, kept: int, count: int) -> Outcome:
    """No duplicate goes."""
    return Outcome(seconds, rows, short=rows - kept, exact=0, near=0, kept=kept, tokens=count)
