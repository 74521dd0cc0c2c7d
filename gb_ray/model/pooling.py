"""A vector a text: the mean over the text's tokens of the backbone's last layer, scaled to length 1.

Reimers and Gurevych, Sentence-BERT (https://arxiv.org/abs/1908.10084), section 3 and table 6.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gb_ray.model import packing

ARCHITECTURE = "AutoModel"
"""The class of models that are made so."""


@dataclass(frozen=True)
class Vectors:
    """What such a model gives. logits: float32 [texts, size]."""

    logits: torch.Tensor


def pool(model: Any) -> None:
    """Make a backbone give `Vectors`, of padded rows and of packed ones; its own pooler goes, which nothing reads."""
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    model.register_forward_hook(_to_vectors, with_kwargs=True)


def _to_vectors(backbone: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Vectors:
    hidden, segments, mask = output.last_hidden_state, kwargs.get("segments"), kwargs.get("attention_mask")
    if segments is not None:
        means = packing.mean_of(hidden[0], segments)
    elif mask is not None:
        filled = mask[:, :, None].float()
        means = (hidden.float() * filled).sum(dim=1) / filled.sum(dim=1)
    else:
        means = hidden.float().mean(dim=1)
    return Vectors(torch.nn.functional.normalize(means, dim=-1))


def describe(model: Any, max_tokens: int, folder: Path) -> None:
    """Write beside an exported backbone how its vectors are made, in the files that `sentence-transformers` reads."""
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (path, kind) in enumerate(kinds.items())
    ]
    size = model.config.get_text_config().hidden_size
    described = {
        "modules.json": modules,
        "sentence_bert_config.json": {"max_seq_length": max_tokens, "do_lower_case": False},
        "1_Pooling/config.json": {"word_embedding_dimension": size, "pooling_mode_mean_tokens": True},
    }
    for name, content in described.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content, indent=1), encoding="utf-8")
