"""One model of an exported directory: from tokens to logits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

import torch

from gb_ray.model import load, package, several
from gb_ray.model.several import Owners
from gb_ray.tasks.causal_lm import CausalLm
from gb_ray.tasks.task import Task
from gb_ray.tasks.tokenizer import padding, tokenizer


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


class Member:
    """A model in fp32 on CPU, in a directory that verified; its probabilities are scaled by the temperatures it has.

    The backbone of several tasks runs once over a batch, in which a text stands once, or as often as its tasks read it
    differently.
    """

    def __init__(self, folder: Path):
        manifest = package.read(folder)
        self.tasks: dict[str, Task] = package.tasks_of(folder, manifest)
        self._temperatures = [package.temperature(manifest, name) for name in self.tasks]
        if len(self.tasks) == 1:
            self.model: Any = load.exported(folder, next(iter(self.tasks.values())).architecture)
        else:
            self.model = several.together(folder, self.tasks, package.labels_of(manifest))
        self._pad = padding(tokenizer(str(folder)))

    def written(self, task: CausalLm, encoded: list[Encoded]) -> list[dict[str, Any]]:
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

    def logits(self, encoded: list[Encoded]) -> tuple[torch.Tensor, ...]:
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
