"""What a run will take, before anything is taken: memory of each worker, steps, time."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel

from gb_ray import machine
from gb_ray.corpus.corpus import Corpus
from gb_ray.corpus.manifest import SplitEntry
from gb_ray.recipe import Recipe
from gb_ray.train.schedule import steps_per_epoch
from gb_ray.train.section import TrainSection

MASTER, MOMENTS = 4, 8
"""Bytes a parameter of fp32 master weights, and of AdamW's two moments."""


class Plan(BaseModel):
    """Bytes are of one worker; `seconds` is None when the machine it will run on cannot be measured from here."""

    parameters: int
    trained: int
    zero: int
    precision: str
    workers: int
    weights: int
    gradients: int
    optimizer: int
    activations: int
    total: int
    batch: int
    steps: int
    tokens: int
    seconds: float | None

    def lines(self) -> list[str]:
        """For a person."""
        mb = {name: getattr(self, name) / 1e6 for name in ("weights", "gradients", "optimizer", "activations", "total")}
        time_left = f"about {self.seconds:.0f} s here" if self.seconds else "time: not known before the first steps"
        return [
            f"{self.workers} workers, ZeRO {self.zero}, {self.precision}; {self.parameters / 1e6:.1f} M parameters, "
            f"{self.trained / 1e6:.1f} M trained",
            f"a worker holds {mb['total']:.0f} MB: weights {mb['weights']:.0f}, gradients {mb['gradients']:.0f}, "
            f"optimizer {mb['optimizer']:.0f}, activations {mb['activations']:.0f}",
            f"{self.steps} steps of {self.batch} samples, {self.tokens / 1e3:.0f} k tokens; {time_left}",
        ]


def plan(recipe: Recipe, corpus: Corpus, backbone: Path, gpus: bool = False) -> Plan:
    """Memory and time of a run. Reads headers and configuration only, takes a fifth of a second.

    ZeRO shards the optimizer's state from stage 1 and the gradients from stage 2 over the workers
    (https://arxiv.org/abs/1910.02054); activations after https://arxiv.org/abs/2205.05198, 34 bytes a hidden unit and
    5 a score in 16 bits, twice that in 32; compute as 6 operations a parameter and token, embeddings excluded.
    """
    zero = choose_zero(recipe)
    train, samples = recipe.train, corpus.manifest.splits["train"]
    config = json.loads((backbone / "config.json").read_text(encoding="utf-8"))
    parameters, embeddings = _parameters(backbone, config)
    trained = parameters - (embeddings if recipe.model.freeze_embeddings else 0)
    precision = train.precision if train.precision != "auto" else "bf16" if machine.has_bf16() else "fp32"
    size = 2 if precision == "bf16" else 4
    state = trained * (MOMENTS + (MASTER if precision == "bf16" else 0))
    tokens = samples.tokens * train.epochs
    parts = {
        "weights": parameters * size,
        "gradients": trained * size // (train.most if zero >= 2 else 1),
        "optimizer": state // (train.most if zero >= 1 else 1),
        "activations": _activations(config, train, samples, size),
    }
    seconds = None if gpus else 6 * (parameters - embeddings) * tokens / train.most / _rate(precision)
    return Plan(
        parameters=parameters,
        trained=trained,
        zero=zero,
        precision=precision,
        workers=train.most,
        total=sum(parts.values()),
        batch=train.batch,
        steps=steps_per_epoch(samples.epoch, train.batch) * train.epochs,
        tokens=tokens,
        seconds=seconds,
        **parts,
    )


def choose_zero(recipe: Recipe) -> int:
    """The stage of a recipe that leaves it to the plan."""
    return 2 if recipe.train.zero == "auto" else recipe.train.zero


def _parameters(backbone: Path, config: dict[str, Any]) -> tuple[int, int]:
    """Parameters in all, and of the input embeddings, from the headers of the safetensors files."""
    total = 0
    for file in sorted(backbone.glob("*.safetensors")):
        with file.open("rb") as raw:
            header = json.loads(raw.read(int.from_bytes(raw.read(8), "little")))
        for name, tensor in header.items():
            if name != "__metadata__":
                total += torch.Size(tensor["shape"]).numel()
    return total, config.get("vocab_size", 0) * config.get("hidden_size", 0)


def _activations(config: dict[str, Any], train: TrainSection, samples: SplitEntry, size: int) -> int:
    tokens, longest = min(train.micro_tokens, train.batch * samples.longest // train.most), samples.longest
    layers = config.get("num_hidden_layers", 12)
    hidden, heads = config.get("hidden_size", 768), config.get("num_attention_heads", 12)
    return int(layers * tokens * (34 * hidden + 5 * heads * longest) * size / 2)


def _rate(precision: str) -> float:
    """Operations a second of one thread here, on a product of the shape that encoders spend their time in."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        a, b = torch.ones(1024, 384, dtype=dtype), torch.ones(384, 1536, dtype=dtype)
        a @ b
        began, rounds = time.perf_counter(), 0
        while time.perf_counter() - began < 0.2:
            a @ b
            rounds += 1
        # Half the rate of a bare product: what training reached here, with attention, dropout and collectives.
        return rounds * 2 * a.numel() * b.shape[1] / (time.perf_counter() - began) / 2
    finally:
        torch.set_num_threads(threads)
