"""An exported model, ready to answer texts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gb_ray.model import load, package
from gb_ray.section import UserError
from gb_ray.tasks.causal_lm import CausalLm
from gb_ray.tasks.tokenizer import padding, tokenizer


@dataclass(frozen=True)
class Encoded:
    """A tokenised text. `offsets` is what its task's `answer` wants to know of the places of its tokens."""

    text: str
    input_ids: list[int]
    offsets: list[tuple[int, int]]


class Predictor:
    """Answers texts with an exported model in fp32 on CPU, its probabilities scaled by the temperature it was given.

    Raises UserError when the directory does not verify.
    """

    def __init__(self, path: Path):
        self.manifest: dict[str, Any] = package.verify(path)
        self.labels: list[str] = next(iter(self.manifest["tasks"].values()))["labels"]
        task = package.task_of(path, self.manifest)
        if isinstance(task, CausalLm):
            raise UserError(f"{path}: a causal-lm model; this version answers with models of the other tasks alone")
        self.task = task
        self._temperature = package.temperature(self.manifest)
        self.model = load.exported(path, self.task.architecture)
        self._pad = padding(tokenizer(str(path)))

    def encode(self, texts: list[str]) -> list[Encoded]:
        """Tokenise, cut at the length the model was trained with."""
        if not texts:
            return []
        return [Encoded(text, ids, places) for text, (ids, places) in zip(texts, self.task.read(texts), strict=True)]

    @torch.inference_mode()
    def predict(self, encoded: list[Encoded]) -> list[dict[str, Any]]:
        """One answer a text, in order; the whole list is one padded batch."""
        if not encoded:
            return []
        width = max(len(item.input_ids) for item in encoded)
        ids = torch.full((len(encoded), width), self._pad, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, item in enumerate(encoded):
            ids[row, : len(item.input_ids)] = torch.tensor(item.input_ids)
            mask[row, : len(item.input_ids)] = 1
        logits = self.model(input_ids=ids, attention_mask=mask).logits.float().numpy() / self._temperature
        return [
            self.task.answer(item.text, item.offsets, scores, self.labels)
            for item, scores in zip(encoded, logits, strict=True)
        ]
