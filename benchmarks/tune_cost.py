"""What ending trials early saves, and what it costs: a search with ASHA beside the same search without early ends.

    python benchmarks/tune_cost.py [--data DIR] [--home DIR] [--trials 16] [--seed 0] [--seconds 0] [--json FILE]

Both are `gb tune` over the same space, with the same seed, of MiniLM on every fifth row of BANKING77, with as many
others to validate on: one of these is 0.05 points. After `--seconds` the search is stopped; the same command goes on
from there, as it does after a kill. Cost is in steps, and in seconds from each trial's start of training to its end;
the best is that on the validation split, and its accuracy on the whole test split is beside it.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

ROOT = Path(__file__).parent.parent
EVERY = 5
SPACE = {
    "train.lr": {"log": [1e-5, 1e-3]},
    "train.head_lr": {"log": [1e-4, 3e-2]},
    "train.schedule.warmup": {"uniform": [0.0, 0.3]},
    "tasks.intent.label_smoothing": {"uniform": [0.0, 0.2]},
}
LEGS = {"asha": {"factor": 4}, "full": {"rungs": 0, "factor": 4}}


def recipe(data: Path, folder: Path, leg: str, trials: int, seed: int) -> Path:
    """The recipe of one search: jobs/recipes/intents.yaml on fewer rows."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = pq.read_table(data / "train.parquet")
    content = yaml.safe_load((ROOT / "jobs/recipes/intents.yaml").read_text())
    train, test = content["corpus"]["sources"]
    test["uri"] = str(data / "test.parquet")
    content["corpus"]["sources"] = [test]
    for first, split in enumerate(("train", "validation")):
        rows = folder / f"{split}.parquet"
        if not rows.is_file():  # a search that goes on finds the files it began with
            pq.write_table(whole.take(list(range(first, len(whole), EVERY))), rows)
        content["corpus"]["sources"].append({**train, "uri": str(rows), "split": split})
    content["corpus"]["splits"]["validation"] = 0
    content["seed"] = seed
    content["registry"]["policy"] = str(ROOT / "jobs/recipes/policies/intents.yaml")
    content["train"] |= {"epochs": 3, "workers": 1}
    content["model"]["freeze_embeddings"] = True
    content["search"] = {"metric": "accuracy", "trials": trials, "parallel": 2, "space": SPACE, "asha": LEGS[leg]}
    file = folder / f"{leg}.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return file


def tune(file: Path, home: Path, until: float | None) -> dict[str, Any]:
    """The account of one search; ends this process when the time is up."""
    command = [
        str(Path(sys.executable).parent / "gb"),
        "tune",
        str(file),
        "--home",
        str(home),
        "--ray",
        "local",
        "--json",
    ]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        out, _ = child.communicate(timeout=until and max(1.0, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGTERM)
        child.communicate()
        sys.exit("stopped for now; the same command goes on")
    if child.returncode:
        sys.exit(child.returncode)
    return dict(json.loads(out))


def seconds(account: dict[str, Any]) -> float:
    """Of all trials' training and measuring. The best one's last life is that of its registration."""
    trials = list((Path(account["search"]["path"]) / "trials").glob("*/lives/*.json"))
    best = sorted((Path(account["model"]["path"]).parent / "lives").glob("*.json"))[:-1]
    lives = [json.loads(file.read_text()) for file in [*trials, *best]]
    return float(sum(life["seen"] - life["began"] for life in lives))


def figures(account: dict[str, Any]) -> dict[str, Any]:
    """What is compared."""
    found = account["search"]
    return {
        "steps": sum(trial["steps"] for trial in found["trials"]),
        "seconds": round(seconds(account)),
        "best_validation": found["trials"][0]["value"],
        "test_of_best": account["metrics"]["test"]["intent"]["accuracy"],
        "trained_to_the_end": sum(trial["ended"] == "full" for trial in found["trials"]),
        "values": found["trials"][0]["values"],
    }


def main() -> None:
    """Search twice, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data/banking77")
    parser.add_argument("--home", type=Path, default=Path.home() / ".gb_ray/tune_cost")
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0, help="with another --home")
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    until = time.monotonic() + args.seconds if args.seconds else None
    found = {}
    for leg in LEGS:
        file = recipe(args.data.resolve(), args.home.resolve(), leg, args.trials, args.seed)
        found[leg] = figures(tune(file, args.home / leg, until))
        print(leg, json.dumps(found[leg]), flush=True)
    asha, full = found["asha"], found["full"]
    print(f"steps    {asha['steps'] / full['steps']:.1%} of {full['steps']}")
    print(f"seconds  {asha['seconds'] / full['seconds']:.1%} of {full['seconds']}")
    for name in ("best_validation", "test_of_best"):
        print(f"{name}: {asha[name]:.4f} beside {full[name]:.4f}, {100 * (asha[name] - full[name]):+.2f} points")
    if args.json:
        args.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
