"""An exported model, ready to answer texts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, chain
from pathlib import Path
from typing import Any, cast

import torch

from gb_ray.model import load, package, several
from gb_ray.model.several import Owners
from gb_ray.tasks.causal_lm import CausalLm
from gb_ray.tasks.embedding import Embedding
from gb_ray.tasks.multi_label import MultiLabel
from gb_ray.tasks.regression import Regression
from gb_ray.tasks.sequence_classification import SequenceClassification
from gb_ray.tasks.task import Task
from gb_ray.tasks.token_classification import TokenClassification
from gb_ray.tasks.tokenizer import padding, tokenizer

Answering = SequenceClassification | MultiLabel | TokenClassification | Regression | Embedding


@dataclass(frozen=True)
class Encoded:
    """A tokenised text. Tasks may read it differently: `rows` are the different ones of what they read.

    Task t reads row `which[t]`; `places[t]` is what its `answer` wants to know of the places of its tokens.
    """

    text: str
    rows: list[list[int]]
    which: list[int]
    places: list[list[tuple[int, int]]]

    @cached_property
    def input_ids(self) -> list[int]:
        """All its tokens: what it costs to compute."""
        return list(chain.from_iterable(self.rows))


class Predictor:
    """Answers texts with an exported model in fp32 on CPU, its probabilities scaled by the temperatures it was given.

    Raises UserError when the directory does not verify.

    The answer of a model of several tasks is {task: answer}. Its backbone runs once over a batch, in which a text
    stands once, or as often as its tasks read it differently.
    """

    def __init__(self, path: Path):
        self.manifest: dict[str, Any] = package.verify(path)
        self.tasks: dict[str, Task] = package.tasks_of(path, self.manifest)
        self.labels: dict[str, list[str]] = {name: self.manifest["tasks"][name]["labels"] for name in self.tasks}
        self._temperatures = [package.temperature(self.manifest, name) for name in self.tasks]
        if len(self.tasks) == 1:
            self.model: Any = load.exported(path, next(iter(self.tasks.values())).architecture)
        else:
            self.model = several.together(path, self.tasks, self.labels)
        self._pad = padding(tokenizer(str(path)))

    def encode(self, texts: list[str]) -> list[Encoded]:
        """Tokenise, cut at the length the model was trained with."""
        if not texts:
            return []
        read = [task.read(texts) for task in self.tasks.values()]
        return [_encoded(text, own) for text, own in zip(texts, zip(*read, strict=True), strict=True)]

    @torch.inference_mode()
    def predict(self, encoded: list[Encoded]) -> list[dict[str, Any]]:
        """One answer a text, in order; the whole list is one padded batch."""
        if not encoded:
            return []
        first = next(iter(self.tasks.values()))
        if isinstance(first, CausalLm):
            return self._written(first, encoded)
        logits, tasks = self._logits(encoded), cast(dict[str, Answering], self.tasks)
        answers = [
            {
                name: task.answer(item.text, item.places[number], logits[number][place].numpy(), self.labels[name])
                for number, (name, task) in enumerate(tasks.items())
            }
            for place, item in enumerate(encoded)
        ]
        return answers if len(self.tasks) > 1 else [next(iter(answer.values())) for answer in answers]

    def _written(self, task: CausalLm, encoded: list[Encoded]) -> list[dict[str, Any]]:
        """What the model goes on with, the likeliest token each time: the same text is answered alike every time."""
        rows = [item.rows[0] for item in encoded]
        ids = torch.full((len(rows), max(map(len, rows))), self._pad, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for number, row in enumerate(rows):
            # The new tokens stand side by side at the end.
            ids[number, -len(row) :] = torch.tensor(row)
            mask[number, -len(row) :] = 1
        found = self.model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=task.section.new_tokens,
            do_sample=False,
            pad_token_id=self._pad,
            eos_token_id=tokenizer(task.backbone).eos_token_id,
        )
        return [task.written(row) for row in found[:, ids.shape[1] :].tolist()]

    def _logits(self, encoded: list[Encoded]) -> tuple[torch.Tensor, ...]:
        """Of each task, those of each text."""
        rows = [row for item in encoded for row in item.rows]
        ids = torch.full((len(rows), max(map(len, rows))), self._pad, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = torch.tensor(row)
            mask[number, : len(row)] = 1
        if len(self.tasks) == 1:
            return (self.model(input_ids=ids, attention_mask=mask).logits.float() / self._temperatures[0],)
        firsts = list(accumulate((len(item.rows) for item in encoded), initial=0))
        owned = [
            [first + item.which[number] for first, item in zip(firsts, encoded, strict=False)]
            for number in range(len(self.tasks))
        ]
        found = self.model(input_ids=ids, attention_mask=mask, owners=Owners.of(owned)).logits
        return tuple(one.float() / heat for one, heat in zip(found, self._temperatures, strict=True))


def _encoded(text: str, read: tuple[tuple[list[int], list[tuple[int, int]]], ...]) -> Encoded:
    rows: list[list[int]] = []
    for ids, _ in read:
        if ids not in rows:
            rows.append(ids)
    return Encoded(text, rows, [rows.index(ids) for ids, _ in read], [places for _, places in read])
