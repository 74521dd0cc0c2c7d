"""One label a text: topics, intents, sentiment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gb_ray.corpus.clean.text import clean_text
from gb_ray.corpus.encoder import Reject
from gb_ray.tasks.base import WholeText
from gb_ray.tasks.label import label_name
from gb_ray.tasks.section import SequenceClassificationSection

if TYPE_CHECKING:  # imported where it is used: workers that only tokenise start seconds sooner without it
    import torch


class SequenceClassification(WholeText):
    """The task `sequence-classification`. `backbone` is the folder of the tokenizer."""

    chooses_one = True
    architecture = "AutoModelForSequenceClassification"
    fields = pa.schema({"text": pa.string(), "label_name": pa.string()})
    samples = pa.schema({"input_ids": pa.list_(pa.int32()), "label": pa.int32()})

    def __init__(self, section: SequenceClassificationSection, backbone: str, max_tokens: int, min_chars: int = 1):
        self.section, self.backbone, self.max_tokens, self.min_chars = section, backbone, max_tokens, min_chars
        self.columns = [section.text, section.label]

    def clean(self, row: dict[str, Any]) -> dict[str, Any]:
        """`text` and `label_name`. Raises Reject."""
        text = clean_text(row[self.section.text], self.section.text, self.min_chars)
        label = label_name(row[self.section.label], self.section.label)
        if self.section.labels and label not in self.section.labels:
            raise Reject(f"{self.section.label} is outside the label set")
        return {"text": text, "label_name": label}

    def stratum(self, fields: dict[str, Any]) -> str:
        """The label."""
        return str(fields["label_name"])

    def labels_of(self, fields: dict[str, Any]) -> set[str]:
        """The one label, and every label that the recipe names: one that no row has is a label all the same."""
        return {fields["label_name"], *(self.section.labels or ())}

    def encode(self, rows: list[dict[str, Any]], labels: list[str]) -> dict[str, Any]:
        """`input_ids` and the label's number."""
        number = {name: i for i, name in enumerate(labels)}
        return {
            "input_ids": self.tokens([row["text"] for row in rows]),
            "label": [number[row["label_name"]] for row in rows],
        }

    def targets(self, labels: list[Any], width: int) -> torch.Tensor:
        """int64 [samples]."""
        import torch

        return torch.tensor(labels, dtype=torch.int64)

    def blank(self, tokens: int) -> int:
        """The label of a sample that only fills a place."""
        return 0

    def loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Cross entropy summed over samples (scalar); the caller divides by the global count.

        Smoothed labels after https://arxiv.org/abs/1512.00567, section 7: the label is certain but for a share, which
        all labels have alike.
        """
        import torch

        smoothing = self.section.label_smoothing
        return torch.nn.functional.cross_entropy(logits.float(), targets, reduction="sum", label_smoothing=smoothing)

    def metrics(self, logits: list[NDArray[np.floating]], targets: list[Any], labels: list[str]) -> dict[str, float]:
        """accuracy, macro_f1, roc_auc (one against the rest, macro) and loss, from logits [labels] a sample.

        macro_f1 averages over the labels in targets or answers; roc_auc is absent when a label has no sample.
        """
        from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

        table, truth = np.stack(logits).astype(np.float64), np.asarray(targets)
        scores = probabilities(table)
        answers = scores.argmax(axis=1)
        found = {
            "accuracy": float(accuracy_score(truth, answers)),
            "macro_f1": float(f1_score(truth, answers, average="macro")),
            "loss": float(-np.log(np.clip(scores[np.arange(len(truth)), truth], 1e-12, 1)).mean()),
        }
        if len(np.unique(truth)) == len(labels):
            score = scores[:, 1] if len(labels) == 2 else scores
            found["roc_auc"] = float(roc_auc_score(truth, score, multi_class="ovr", average="macro"))
        return found

    def answer(self, text: str, offsets: list[tuple[int, int]], logits: NDArray[np.float32], labels: list[str]) -> Any:
        """The label of a text with the probability of every label."""
        scores = probabilities(logits.astype(np.float64))
        return {
            "label": labels[int(scores.argmax())],
            "probabilities": {name: float(score) for name, score in zip(labels, scores, strict=True)},
        }


def probabilities(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Softmax over the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
