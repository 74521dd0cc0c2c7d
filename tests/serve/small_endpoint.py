"""Small real models, and the HTTP interface on a real port."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import uvicorn
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from gb_ray.model import package
from gb_ray.model.predictor import Predictor
from gb_ray.serve.follow import Source
from gb_ray.serve.routes import make_app
from gb_ray.serve.section import ServeSection
from gb_ray.serve.service import Service

LABELS = ["rain", "sun"]


@dataclass(frozen=True)
class Exported:
    """An exported directory as a version."""

    path: Path
    version: str
    weights_sha256: str
    name: str = "weather"

    @property
    def uri(self) -> str:
        return str(self.path)


class AliasFile:
    """A source whose alias is a file that holds the path of an exported directory."""

    def __init__(self, file: Path):
        self.file = file

    def head(self) -> str:
        return self.file.read_text()

    def resolve(self) -> Exported:
        path = Path(self.file.read_text())
        return Exported(path, path.name, package.read(path)["weights_sha256"])

    def load(self, version: Any) -> Predictor:
        return Predictor(version.path)


def export(path: Path, answer: str, run_id: str = "none") -> Path:
    """A tiny random classifier in `path` whose bias makes it answer `answer` to everything."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnopqrstuvwxyz", *(f"##{c}" for c in "abcdefghijklmnop")]
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        num_labels=2,
    )
    model = BertForSequenceClassification(config)
    with torch.no_grad():
        model.classifier.bias[LABELS.index(answer)] = 9.0
    section = {"type": "sequence-classification", "text": "text", "label": "label"}
    tasks = {"sky": {"type": section["type"], "labels": LABELS, "section": section}}
    manifest = {"name": "weather", "run_id": run_id, "tasks": tasks, "max_tokens": 64}
    package.export(model, _tokenizer(words), manifest, path)
    return path


def _tokenizer(words: list[str]) -> PreTrainedTokenizerFast:
    core = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )


@contextmanager
def running(source: Source, section: ServeSection) -> Iterator[str]:
    """The URL of the HTTP interface over `source`, on a free port, in a thread of its own."""
    ready = threading.Event()
    server: list[uvicorn.Server] = []

    async def main() -> None:
        service = Service(source, section)
        await service.start()
        server.append(uvicorn.Server(uvicorn.Config(make_app(service), port=0, log_level="error")))
        serving = asyncio.create_task(server[0].serve())
        while not server[0].started:
            await asyncio.sleep(0.01)
        ready.set()
        await serving
        await service.stop()

    thread = threading.Thread(target=asyncio.run, args=(main(),), daemon=True)
    thread.start()
    assert ready.wait(30), "the server did not start"
    try:
        yield f"http://127.0.0.1:{server[0].servers[0].sockets[0].getsockname()[1]}"
    finally:
        server[0].should_exit = True
        thread.join(30)
