"""Whether a job that resumes late waits longer for its first batch than one that begins.

    python benchmarks/resume.py [--samples 2000000] [--repeats 5] [--json FILE]

A fresh process opens a corpus (8 lanes, default layout) and asks for 32 positions, at the start and at 95 % of an epoch
in alternation, alone and as worker 0 of 4. Opening the corpus counts, importing libraries does not.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "corpus"))

from synthetic import make_corpus

FIRST_BATCH = """
import sys, time
from pathlib import Path
from gb_ray.corpus.corpus import Corpus
from gb_ray.corpus.reading.reader import Reader
began = time.perf_counter()
with Reader(Corpus.open(Path(sys.argv[1])), "train", 0, 0, int(sys.argv[2])) as reader:
    found = reader.step(0, int(sys.argv[3]), int(sys.argv[3]) + 32)
    seconds = time.perf_counter() - began
assert found
print(seconds)
"""


def first_batch(folder: Path, workers: int, position: int) -> float:
    """Seconds until a fresh process has its samples of a batch of 32."""
    command = [sys.executable, "-c", FIRST_BATCH, str(folder), str(workers), str(position)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=2_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    late = int(args.samples * 0.95)
    found: dict[str, Any] = {"samples": args.samples}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "corpus"
        make_corpus(folder, {"train": [(1.0, args.samples)]})
        print(f"{'first batch of 32, seconds':28}{'at 0':>8}{'at 95 %':>10}{'ratio':>8}  (goals: under 2 s, 1.2)")
        for workers in (1, 4):
            pairs = [(first_batch(folder, workers, 0), first_batch(folder, workers, late)) for _ in range(args.repeats)]
            begin, resume = (statistics.median(column) for column in zip(*pairs, strict=True))
            found[f"{workers} workers"] = {"runs": pairs, "begin": begin, "resume": resume, "ratio": resume / begin}
            print(f"{f'worker 0 of {workers}':28}{begin:8.3f}{resume:10.3f}{resume / begin:8.2f}")
    if args.json:
        args.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
