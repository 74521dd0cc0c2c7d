"""Time and memory of the search for near duplicates in millions of rows.

    python benchmarks/near_duplicates_scale.py [--rows ROWS] [--threshold T] [--json FILE]

Rows have random keys; each tenth row has the keys of the row before it. Memory is what a process has of its own:
without the files that it maps and without Ray's shared object store, both of which the system may take back.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa

from gb_ray import machine
from gb_ray.corpus.near import lsh, near
from gb_ray.corpus.stages import tables

BUCKET_ROWS = 50_000


def write_buckets(folder: Path, rows: int, threshold: float) -> list[Path]:
    """Files with so many rows in order of id; rows 10 i and 10 i + 1 are near duplicates."""
    rng = np.random.default_rng(0)
    count = lsh.layout(threshold)[0]
    halves = np.sort(rng.integers(0, 2**64, rows, np.uint64)).astype(">u8")
    paths = []
    for start in range(0, rows, BUCKET_ROWS):
        half = halves[start : start + BUCKET_ROWS]
        keys = rng.integers(0, 2**64, (len(half), count), np.uint64)
        keys[1::10] = keys[0::10][: len(keys[1::10])]
        ids = pa.py_buffer(np.stack([half, half], axis=1).tobytes())
        columns = {
            "id": pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(half), [None, ids]),
            "text": [
                f"This is what all have in common, and this is {start // 10 + i // 10:,}" for i in range(len(half))
            ],
            "split": ["train"] * len(half),
            "bands": pa.FixedSizeListArray.from_arrays(pa.array(keys.reshape(-1)), count),
        }
        paths.append(folder / f"bucket-{start // BUCKET_ROWS:05d}.arrow")
        tables.write(pa.table(columns), paths[-1])
    return paths


@contextlib.contextmanager
def peak() -> Iterator[dict[str, float]]:
    """The most memory (GB) that any process of each kind had meanwhile, this one and its children."""
    most: dict[str, float] = {}
    done = threading.Event()
    driver = psutil.Process()

    def watch() -> None:
        while not done.wait(0.2):
            for process in [driver, *driver.children(recursive=True)]:
                with contextlib.suppress(psutil.Error):
                    kind = "driver" if process == driver else process.name().split(" ")[0]
                    memory = process.memory_info()
                    most[kind] = max(most.get(kind, 0), round((memory.rss - memory.shared) / 1e9, 2))

    thread = threading.Thread(target=watch)
    thread.start()
    yield most
    done.set()
    thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--threshold", type=float, default=0.7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, machine.ray_up("local"):
        paths = write_buckets(Path(folder), options.rows, options.threshold)
        with peak() as memory:
            started = time.monotonic()
            removed = near.find(paths, options.threshold, "remove")
            seconds = round(time.monotonic() - started, 1)
    gone = sum(int((flags != near.STAYS).sum()) for flags in removed.flags)
    bands = lsh.layout(options.threshold)[0]
    result = {"rows": options.rows, "bands": bands, "removed": gone, "seconds": seconds, "peak_gb": memory}
    print("\n".join(f"{key:8} {value}" for key, value in result.items()))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
