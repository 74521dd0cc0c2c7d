"""A tiny exported model and a real MLflow server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import torch
from helpers import free_port
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, BertModel, PreTrainedTokenizerFast

from gb_ray.model import package

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "rain", "sun", "wind"]
LABELS = ["bad", "good"]


def export_model(path: Path, run_id: str, seed: int = 0, name: str = "weather", embeds: bool = False) -> Path:
    """A random classifier of one layer, or a model that embeds, exported as a run would."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=32, id2label=dict(enumerate(LABELS)), label2id={x: i for i, x in enumerate(LABELS)},
    )  # fmt: skip
    words = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    )
    kind, labels = ("embedding", []) if embeds else ("sequence-classification", LABELS)
    model = BertModel(config, add_pooling_layer=False) if embeds else BertForSequenceClassification(config)
    manifest = {
        "name": name,
        "run_id": run_id,
        "corpus_digest": "c" * 64,
        "max_tokens": 32,
        "tasks": {"tone": {"type": kind, "labels": labels, "section": {"type": kind}}},
        "metrics": {"test": {"tone": {"accuracy": 0.9}}},
    }
    package.export(model, tokenizer, manifest, path)
    return path


class Server:
    """A tracking server in `folder`, on one port through every stop and start."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uri = f"http://127.0.0.1:{free_port()}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it answers; does nothing when it runs."""
        if self._process:
            return
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--workers", "1"]
        command += ["--port", self.uri.rpartition(":")[2], "--backend-store-uri", f"sqlite:///{self.folder}/server.db"]
        command += ["--artifacts-destination", str(self.folder / "served")]
        environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
        # Without its job runners it starts four times faster.
        environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        for _ in range(300):
            try:
                httpx.get(f"{self.uri}/health", timeout=1, trust_env=False).raise_for_status()
                return
            except httpx.HTTPError:
                time.sleep(0.2)
        raise RuntimeError((self.folder / "server.log").read_text())

    def stop(self) -> None:
        """Kill it and its workers."""
        if self._process:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
