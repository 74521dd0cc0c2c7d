"""What several tests need: the command as a user runs it, a recipe that trains in seconds, processes by their ids."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import yaml

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
WORDS = {
    "energy": ["grid", "solar", "wind", "volt", "turbine", "power"],
    "health": ["clinic", "vaccine", "nurse", "fever", "midwife", "dose"],
    "water": ["river", "well", "pump", "flood", "drought", "pipe"],
}


def free_port() -> int:
    """A TCP port that is free now, and that nobody is given who asks for any: Ray does, beside other tests."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)  # systems give higher ones, Ray lower ones
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


def stop(process: subprocess.Popen[Any]) -> None:
    """End a process and all it started, by their ids."""
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    process.terminate()
    _, alive = psutil.wait_procs(family, timeout=5)
    for one in alive:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait(15)


def train_workers(address: str | None = None) -> list[int]:
    """The processes that train now: those of the Ray at an address of this machine, or all."""
    port = address and address.rsplit(":", 1)[1]
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any("RayTrainWorker" in word for word in process.info["cmdline"] or []):
            with suppress(psutil.NoSuchProcess):
                raylet = process.parent()
                # Ray may call the host by another name than we do.
                asked = [word for word in raylet.cmdline() if word.startswith("--gcs-address=")] if raylet else []
                if port is None or any(word.endswith(f":{port}") for word in asked):
                    found.append(process.pid)
    return found


def texts(count: int) -> list[dict[str, str]]:
    """Texts of three topics that differ in their words, none twice."""
    rows = []
    for i in range(count):
        label = list(WORDS)[i % 3]
        words = WORDS[label]
        chosen = [words[(i * k + k * k) % 6] for k in range(1, 3 + i % 7)]
        rows.append({"text": f"{' '.join(chosen)} {i}", "label": label})
    return rows


def write_recipe(content: dict[str, Any], folder: Path) -> Path:
    """Write a recipe and a policy that almost anything passes."""
    (folder / "policy.yaml").write_text(yaml.safe_dump({"floors": {"macro_f1": 0.3}, "not_worse": {"macro_f1": 0.1}}))
    (folder / "recipe.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return folder / "recipe.yaml"


def gb(*args: object, timeout: float = 240, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does."""
    command = [str(BIN / "gb"), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=os.environ | env, check=False)


def gb_json(*args: object, status: int = 0, **env: str) -> dict[str, Any]:
    """Run the command with --json and take its object. Fails the test on another exit status."""
    done = gb(*args, "--json", **env)
    assert done.returncode == status, f"exit {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return dict(json.loads(done.stdout))
