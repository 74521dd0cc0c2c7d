"""A job that trains a tiny model on random tokens in seconds, with nothing built and no Ray."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from gb_ray.recipe import Recipe
from gb_ray.train.job import Job

sys.path.append(str(Path(__file__).parent.parent / "corpus"))

from synthetic import VOCABULARY, make_corpus


def small_job(
    folder: Path, backbone: Path, samples: int = 64, width: int = 32, dropout: float = 0.1, **train: Any
) -> Job:
    """A job with a directory of its own under `folder`; `backbone` gives its tokenizer. `train` is the recipe's."""
    model = folder / "model"
    if not model.is_dir():
        _write_model(model, backbone, dropout)
        make_corpus(folder / "corpus", {"train": [(1.0, samples)]}, lanes=6, shard_rows=16)
    run = folder / f"run-{len(list(folder.glob('run-*'))):04d}"
    run.mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"key": "k" * 64, "name": "small", "status": "running"}))
    settings = {"epochs": 2, "batch": 8, "lr": 1e-3, "precision": "fp32", "checkpoint": {"every": 4, "keep": 2}}
    recipe = Recipe.model_validate(
        {
            "name": "small",
            "corpus": {"sources": [{"uri": "none.jsonl"}], "lanes": 6},
            "tasks": {"topic": {"type": "sequence-classification"}},
            "model": {"path": str(model), "max_tokens": 64},
            "train": settings | train,
        }
    )
    zero = 2 if recipe.train.zero == "auto" else recipe.train.zero
    return Job(
        recipe,
        {"topic": folder / "corpus"},
        run,
        "k" * 64,
        time.time(),
        False,
        zero,
        {"tasks": {"topic": {}}},
        {},
    )


def _write_model(model: Path, backbone: Path, dropout: float) -> None:
    import torch
    from transformers import BertConfig, BertModel

    shutil.copytree(backbone, model)
    torch.manual_seed(0)
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    rates = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    BertModel(BertConfig(vocab_size=VOCABULARY, max_position_embeddings=64, **size, **rates)).save_pretrained(model)
