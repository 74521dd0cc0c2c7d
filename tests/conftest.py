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
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import BIN, WORDS, free_port, stop, texts, write_recipe
from hypothesis import settings

os.environ["RAY_AUTH_MODE"] = "token"
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["OMP_NUM_THREADS"] = "1"
for name in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI"):
    os.environ.pop(name, None)

settings.register_profile("any machine", deadline=None)  # how fast an example runs is not what is tested
settings.load_profile("any machine")


@pytest.hookimpl(tryfirst=True)  # before the plugin that reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs the Ray of the suite runs in one process, for there is one Ray; the other files may run beside it."""
    for item in items:
        needs_ray = "head" in getattr(item, "fixturenames", ())
        item.add_marker(pytest.mark.xdist_group("ray" if needs_ray else str(item.path)))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Groups that the plugin does not see (3.8 with pytest 9.2) would start a Ray in each process."""
    if session.config.getoption("loadgroup", False) and not all("@" in item.nodeid for item in session.items):
        raise pytest.UsageError("this pytest-xdist does not group tests with this pytest; install pytest below 9.2")


@pytest.fixture(scope="session")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A cluster of one node: its address for drivers, and for jobs."""
    port, dashboard = free_port(), free_port()
    log = (tmp_path_factory.mktemp("ray") / "log").open("w")
    options = ["--head", "--block", "--num-cpus=3", "--node-ip-address=127.0.0.1", f"--port={port}"]
    # Its default is a fixed port, which another Ray of this machine may have.
    options += [f"--dashboard-agent-listen-port={free_port()}"]
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


@pytest.fixture(scope="session")
def store_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty sqlite store: making its tables takes seconds, copying it does not."""
    from gb_ray.registry.tracking import Tracking

    home = tmp_path_factory.mktemp("store")
    Tracking.open(home, None)
    return home / "mlflow.db"


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


@pytest.fixture(scope="session")
def generative(tmp_path_factory: pytest.TempPathFactory, backbone: Path) -> Path:
    """A GPT-2 with two layers and random weights that has no token for padding."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    from gb_ray.tasks.tokenizer import tokenizer

    path = tmp_path_factory.mktemp("generative") / "tiny"
    loaded = tokenizer(str(backbone))
    torch.manual_seed(0)
    size = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64}
    GPT2LMHeadModel(GPT2Config(vocab_size=len(loaded), **size)).save_pretrained(path)
    names = {"unk_token": "[UNK]", "bos_token": "[CLS]", "eos_token": "[SEP]"}
    type(loaded)(tokenizer_object=loaded.backend_tokenizer, **names).save_pretrained(path)
    return path
