#!/usr/bin/env python3
"""How fast is a corpus made of real texts, compared with two peers that do the same, and with the tokenizer alone?

    python benchmarks/build_speed.py [--repeat N] [--only NAME] [--json FILE]

The work: parquet is read; Unicode NFC, white space folded, texts under 20 characters out; exact duplicates out; near
duplicates out by MinHash at a Jaccard similarity of about 0.8; WordPiece tokens, at most 512 a text; tokens and texts
written. The texts: 3,857 speeches of the UN general debate and 205,820 sentences of SIB-200 in 205 languages.

Each contender runs in a fresh process, one after the other, on all cores. Seconds count from the call to the end, with
the start of worker processes but without the start of Python, imports, and of Ray, which is told apart. The peers
(pip install datasets datatrove rensa xxhash scipy) are given what favours them: see peers/. gb_ray alone also keeps
labels, divides into splits, shuffles globally, verifies every near duplicate, and writes the digest of every file; and
it alone looks at no more of a long text than its first 512 tokens take. The tokenizer alone reads all of every text, so
that gb_ray's rate to it may exceed 1.

Duplicates differ, and should: the similarity is that of character 5-grams without punctuation here, and of word
5-grams there, of which one changed word costs five; the peers take signatures at their word, and gb_ray computes the
similarity of each pair. datatrove counts an exact duplicate as a near one.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from peers import work

Run = dict[str, Any]
ONE_THREAD = {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
A_THREAD_A_CORE = {"RAYON_NUM_THREADS": str(work.CORES), "TOKENIZERS_PARALLELISM": "true"}
CONTENDERS = {
    "gb_ray": ("ours", "run", ONE_THREAD),
    "datasets": ("with_datasets", "run", ONE_THREAD),
    "datatrove": ("with_datatrove", "run", ONE_THREAD),
    "tokenizer, threads": ("tokenizer_alone", "threads", A_THREAD_A_CORE),
    "tokenizer, processes": ("tokenizer_alone", "processes", ONE_THREAD),
}
"""Module in peers/, function, and what its process is told of threads: as many processes as cores have one each."""
PEERS = ("datasets", "datatrove")
TOKENIZERS = ("tokenizer, threads", "tokenizer, processes")
BEST_PEER, TOKENIZER_ALONE = 1.5, 0.6
VERSIONS = ("ray", "pyarrow", "tokenizers", "transformers", "datasets", "datatrove", "rensa", "xxhash", "numpy")


def in_this_process(name: str, out: Path) -> None:
    """Do the work of one contender and leave its outcome in a file."""
    module, function, _ = CONTENDERS[name]
    contender = importlib.import_module(f"peers.{module}")
    out.write_text(json.dumps(asdict(getattr(contender, function)(out.parent))))


def in_fresh_process(name: str) -> Run:
    """The outcome of one contender, with the load of the machine when it began (of the last minute)."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "outcome.json"
        load = os.getloadavg()[0]
        command = [sys.executable, __file__, "--one", name, "--out", str(out)]
        env = os.environ | CONTENDERS[name][2]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
        if done.returncode:
            sys.exit(f"{name} failed:\n{done.stderr[-4000:]}")
        return json.loads(out.read_text()) | {"load": load}


def median(runs: list[Run]) -> Run:
    """The run with the median of the seconds (the slower of the middle two)."""
    middle = statistics.median_high(run["seconds"] for run in runs)
    return next(run for run in runs if run["seconds"] == middle)


def goals(medians: dict[str, Run]) -> list[Run]:
    """How much faster than the best peer, and what share of the tokenizer's rate; where these were run."""
    if "gb_ray" not in medians:
        return []
    ours = medians["gb_ray"]["seconds"]
    wanted = [("best peer", PEERS, BEST_PEER), ("tokenizer alone", TOKENIZERS, TOKENIZER_ALONE)]
    found = []
    for what, names, goal in wanted:
        ran = [name for name in names if name in medians]
        if ran:
            best = min(ran, key=lambda name: medians[name]["seconds"])
            ratio = medians[best]["seconds"] / ours
            found.append({"than": f"{what} ({best})", "ratio": round(ratio, 3), "goal": goal, "met": ratio >= goal})
    return found


def show(medians: dict[str, Run], megabytes: float, reached: list[Run]) -> None:
    """The table, where the time went, and the goals."""
    ours = medians.get("gb_ray", {}).get("seconds")
    heads = ["contender", "seconds", "MB/s", "rows in", "short", "exact", "near", "rows out", "tokens", "to gb_ray"]
    table = [heads]
    for name, run in medians.items():
        counts = [f"{run[what]:,}" for what in ("rows", "short", "exact", "near", "kept", "tokens")]
        ratio = f"{ours / run['seconds']:.2f}" if ours else ""
        table.append([name, f"{run['seconds']:.1f}", f"{megabytes / run['seconds']:.2f}", *counts, ratio])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for first, *others in table:
        line = "  ".join(text.rjust(width) for text, width in zip(others, widths[1:], strict=True))
        print(f"{first:{widths[0]}}  {line}")
    print(f"\n{megabytes:.1f} MB of text, {work.CORES} cores; `to gb_ray` is the rate as a share of its rate")
    for name, run in medians.items():
        if run["stages"]:
            stages = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in run["stages"].items())
            print(f"{name}: {stages} s")
    for goal in reached:
        verdict = "met" if goal["met"] else "missed"
        print(f"rate of gb_ray to {goal['than']}: {goal['ratio']:.2f}, goal {goal['goal']}: {verdict}")


def main() -> None:
    """Run the contenders in turn, `--repeat` times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=1, help="times each contender runs, in alternation")
    parser.add_argument("--only", choices=CONTENDERS, action="append", help="this contender; may be given again")
    parser.add_argument("--json", type=Path, help="also write every run here")
    parser.add_argument("--one", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        in_this_process(asked.one, asked.out)
        return
    if not work.DEBATES.is_file() or not work.SENTENCES.is_dir():
        print(f"skipped: the texts are not there: {work.DEBATES}, {work.SENTENCES}")
        return
    runs: dict[str, list[Run]] = {name: [] for name in asked.only or CONTENDERS}
    for _ in range(asked.repeat):
        for name, found in runs.items():
            found.append(in_fresh_process(name))
    medians = {name: median(found) for name, found in runs.items()}
    megabytes, reached = work.megabytes(), goals(medians)
    show(medians, megabytes, reached)
    if asked.json:
        versions = {name: version(name) for name in VERSIONS}
        content = {"megabytes": megabytes, "cores": work.CORES, "runs": runs, "goals": reached, "versions": versions}
        asked.json.write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
