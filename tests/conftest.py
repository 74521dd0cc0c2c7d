"""One Ray for the whole suite, started as a user starts a cluster, and a small real model.

The suite talks to it over its address, as a job would: nothing of Ray, MLflow or HTTP is replaced by a stand-in.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

os.environ["RAY_AUTH_MODE"] = "token"
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["OMP_NUM_THREADS"] = "1"
for name in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI"):
    os.environ.pop(name, None)

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
WORDS = {
    "energy": ["grid", "solar", "wind", "volt", "turbine", "power"],
    "health": ["clinic", "vaccine", "nurse", "fever", "midwife", "dose"],
    "water": ["river", "well", "pump", "flood", "drought", "pipe"],
}


def free_port() -> int:
    """A TCP port that is free now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def stop(process: subprocess.Popen[Any]) -> None:
    """End a process and all it started, by their ids."""
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    process.terminate()
    _, alive = psutil.wait_procs(family, timeout=15)
    for one in alive:
        one.kill()
    process.wait(15)


def train_workers() -> list[int]:
    """The processes that train now."""
    everyone = ((process.pid, process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"]))
    return [pid for pid, command in everyone if any("RayTrainWorker" in word for word in command)]


@pytest.fixture(scope="session")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A cluster of one node: its address for drivers, and for jobs."""
    port, dashboard = free_port(), free_port()
    log = (tmp_path_factory.mktemp("ray") / "log").open("w")
    options = ["--head", "--block", "--num-cpus=3", "--node-ip-address=127.0.0.1", f"--port={port}"]
    options += [f"--dashboard-port={dashboard}", "--dashboard-host=127.0.0.1", "--disable-usage-stats"]
    process = subprocess.Popen([BIN / "ray", "start", *options], stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + 60
    while not _listens(dashboard):
        assert process.poll() is None and time.monotonic() < deadline, Path(log.name).read_text()
        time.sleep(0.2)
    yield {"address": f"127.0.0.1:{port}", "jobs": f"http://127.0.0.1:{dashboard}"}
    stop(process)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="session")
def ray_up(head: dict[str, str]) -> Iterator[str]:
    """The test process itself as a driver of the cluster."""
    from gb_ray import machine

    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with machine.ray_up(head["address"]):
        signal.signal(signal.SIGINT, handlers[0])
        signal.signal(signal.SIGTERM, handlers[1])
        yield head["address"]


@pytest.fixture(scope="session")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT with two layers and random weights, with a tokenizer of the words that the tests use."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    path = tmp_path_factory.mktemp("model") / "tiny"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnopqrstuvwxyz0123456789.,'"]
    vocabulary = [*pieces, *(f"##{c}" for c in pieces[4:]), *(word for words in WORDS.values() for word in words)]
    tokens = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokens.normalizer = normalizers.BertNormalizer()
    tokens.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokens.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokens, **special).save_pretrained(path)
    torch.manual_seed(0)
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(vocabulary), max_position_embeddings=64, **size)).save_pretrained(path)
    return path


def texts(count: int) -> list[dict[str, str]]:
    """Texts of three topics that differ in their words, none twice."""
    rows = []
    for i in range(count):
        label = list(WORDS)[i % 3]
        words = WORDS[label]
        chosen = [words[(i * k + k * k) % 6] for k in range(1, 3 + i % 7)]
        rows.append({"text": f"{' '.join(chosen)} {i}", "label": label})
    return rows


@pytest.fixture(scope="session")
def rows_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 texts as JSON lines."""
    path = tmp_path_factory.mktemp("data") / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in texts(240)), encoding="utf-8")
    return path


@pytest.fixture
def content(backbone: Path, rows_file: Path) -> dict[str, Any]:
    """A recipe that trains in seconds."""
    return {
        "name": "topics",
        "corpus": {"sources": [{"uri": str(rows_file)}], "lanes": 4, "shard_rows": 16, "window_shards": 2},
        "tasks": {"topic": {"type": "sequence-classification"}},
        "model": {"path": str(backbone), "max_tokens": 32},
        "train": {"epochs": 4, "batch": 16, "lr": 3e-3, "workers": 2, "checkpoint": {"every": 5, "keep": 2}},
        "registry": {"policy": "policy.yaml"},
    }


@pytest.fixture
def recipe_file(content: dict[str, Any], tmp_path: Path) -> Path:
    """That recipe in a file, with a policy beside it."""
    return write_recipe(content, tmp_path)


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
