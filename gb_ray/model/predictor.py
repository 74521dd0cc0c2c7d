"""An exported model, or several as one, ready to answer texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from gb_ray.model import package
from gb_ray.model.member import Encoded, Member
from gb_ray.tasks.causal_lm import CausalLm
from gb_ray.tasks.embedding import Embedding
from gb_ray.tasks.multi_label import MultiLabel
from gb_ray.tasks.regression import Regression
from gb_ray.tasks.sequence_classification import SequenceClassification
from gb_ray.tasks.token_classification import TokenClassification

Answering = SequenceClassification | MultiLabel | TokenClassification | Regression | Embedding


class Predictor:
    """Answers texts with an exported model in fp32 on CPU, its probabilities scaled by the temperatures it was given.

    Raises UserError when the directory does not verify.

    An ensemble answers with the mean of what its members answer. The answer of a model of several tasks is
    {task: answer}.
    """

    def __init__(self, path: Path):
        self.manifest: dict[str, Any] = package.verify(path)
        self.members = [Member(folder) for folder in package.models(path, self.manifest)]
        self.tasks = self.members[0].tasks
        self.labels = package.labels_of(self.manifest)

    def encode(self, texts: list[str]) -> list[Encoded]:
        """Tokenise, cut at the length the model was trained with."""
        if not texts:
            return []
        # Tasks about whole texts read them alike: it is done once for all of them.
        alike = {type(task).read: task for task in self.tasks.values()}
        found = {how: task.read(texts) for how, task in alike.items()}
        read = [found[type(task).read] for task in self.tasks.values()]
        return [_encoded(text, own) for text, own in zip(texts, zip(*read, strict=True), strict=True)]

    @torch.inference_mode()
    def predict(self, encoded: list[Encoded]) -> list[dict[str, Any]]:
        """One answer a text, in order; the whole list is one padded batch."""
        if not encoded:
            return []
        first = next(iter(self.tasks.values()))
        if isinstance(first, CausalLm):
            return self.members[0].written(first, encoded)
        tasks = cast(dict[str, Answering], self.tasks)
        logits = self._logits(list(tasks.values()), encoded)
        answers = [
            {
                name: task.answer(item.text, item.places[number], logits[number][place], self.labels[name])
                for number, (name, task) in enumerate(tasks.items())
            }
            for place, item in enumerate(encoded)
        ]
        return answers if len(self.tasks) > 1 else [next(iter(answer.values())) for answer in answers]

    def rows(self, encoded: list[Encoded]) -> list[dict[str, Any]]:
        """Each text with its answer as a row from which a task would learn it; of several tasks as TASK.COLUMN."""
        several = len(self.tasks) > 1
        found: list[dict[str, Any]] = []
        for item, answer in zip(encoded, self.predict(encoded), strict=True):
            row: dict[str, Any] = {}
            for number, (name, task) in enumerate(self.tasks.items()):
                own = task.row(item.text, item.places[number], answer[name] if several else answer)
                row |= {f"{name}.{column}": value for column, value in own.items()} if several else own
            found.append(row)
        return found

    def _logits(self, tasks: list[Answering], encoded: list[Encoded]) -> list[NDArray[np.floating]]:
        """Of each task, those of each text: one model's own, or those of the mean of the members' answers."""
        each = [[one.numpy() for one in member.logits(encoded)] for member in self.members]
        if len(each) == 1:
            return list(each[0])
        together = zip(tasks, zip(*each, strict=True), strict=True)
        return [task.mean(np.stack(own).astype(np.float64)) for task, own in together]


def _encoded(text: str, read: tuple[tuple[list[int], list[tuple[int, int]]], ...]) -> Encoded:
    rows: list[list[int]] = []
    for ids, _ in read:
        if ids not in rows:
            rows.append(ids)
    return Encoded(text, rows, [rows.index(ids) for ids, _ in read], [places for _, places in read])
