"""One label a text: topics, intents, sentiment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gb_ray.corpus.clean.text import clean_text
from gb_ray.corpus.encoder import Reject
from gb_ray.tasks.area import roc_auc
from gb_ray.tasks.base import WholeText, macro_f1
from gb_ray.tasks.imbalance import Imbalanced
from gb_ray.tasks.label import label_name
from gb_ray.tasks.section import SequenceClassificationSection

if TYPE_CHECKING:  # imported where it is used: workers that only tokenise start seconds sooner without it
    import torch


class SequenceClassification(Imbalanced, WholeText):
    """The task `sequence-classification`. `backbone` is the folder of the tokenizer."""

    chooses_one = True
    headline = "accuracy"
    of_whole = frozenset({"macro_f1", "roc_auc"})
    architecture = "AutoModelForSequenceClassification"
    fields = pa.schema({"text": pa.string(), "label_name": pa.string()})
    samples = pa.schema({"input_ids": pa.list_(pa.int32()), "label": pa.int32()})

    def __init__(
        self,
        section: SequenceClassificationSection,
        backbone: str,
        max_tokens: int,
        min_chars: int = 1,
        state: dict[str, Any] | None = None,
    ):
        self.section, self.backbone, self.max_tokens, self.min_chars = section, backbone, max_tokens, min_chars
        self._state = state or {}
        self.columns = [section.text, section.label]

    @property
    def balance(self) -> float:
        """See Encoder."""
        return float(self.section.balance)

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
        """Cross entropy as the section has it count (see Imbalanced.weighed), summed over samples (scalar).

        The caller divides by the global count of samples.

        Smoothed labels after https://arxiv.org/abs/1512.00567, section 7: the label is certain but for a share, which
        all labels have alike.
        """
        import torch

        smoothing = self.section.label_smoothing
        losses = torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none", label_smoothing=smoothing)
        return self.weighed(losses, targets)

    def statistics(
        self, logits: list[NDArray[np.floating]], targets: list[Any], labels: list[str]
    ) -> NDArray[np.float64]:
        """[1, loss, right, area, and of each label: right, true or answered] of logits [labels] a sample."""
        truth = np.asarray(targets)
        scores = probabilities(np.stack(logits).astype(np.float64))
        losses = -np.log(np.clip(scores[np.arange(len(truth)), truth], 1e-12, 1))
        every = np.eye(len(labels))
        true, answered = every[truth], every[scores.argmax(axis=1)]
        right = true * answered
        area = np.full(len(truth), np.nan)
        if true.any(axis=0).all():
            # Of two labels one says it all.
            area = roc_auc(scores[:, 1:], true[:, 1:] > 0) if len(labels) == 2 else roc_auc(scores, true > 0)
        return np.column_stack([np.ones(len(truth)), losses, right.sum(axis=1), area, right, true + answered])

    def from_sums(self, sums: NDArray[np.float64], labels: list[str]) -> dict[str, NDArray[np.float64]]:
        """accuracy, macro_f1, loss and roc_auc (one against the rest, macro).

        macro_f1 averages over the labels in targets or answers; roc_auc is not defined when a label has no sample.
        """
        count, loss, right, area = np.moveaxis(sums[..., :4], -1, 0)
        by_label = sums[..., 4 : 4 + len(labels)], sums[..., 4 + len(labels) :]
        return {
            "accuracy": right / count,
            "macro_f1": macro_f1(*by_label),
            "loss": loss / count,
            "roc_auc": area / count,
        }

    def mean(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Logits [labels] of the mean of the models' probabilities."""
        return mean_choice(logits)

    def decisions(
        self, logits: list[NDArray[np.floating]], targets: list[Any]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]] | None:
        """One a sample."""
        return np.stack(logits).astype(np.float64), np.asarray(targets, np.int64)

    def names(self, target: Any, labels: list[str]) -> set[str]:
        """The label."""
        return {labels[target]}

    def answer(self, text: str, offsets: list[tuple[int, int]], logits: NDArray[np.float32], labels: list[str]) -> Any:
        """The label of a text with the probability of every label."""
        scores = probabilities(logits.astype(np.float64))
        return {
            "label": labels[int(scores.argmax())],
            "probabilities": {name: float(score) for name, score in zip(labels, scores, strict=True)},
        }

    def row(self, text: str, offsets: list[tuple[int, int]], answer: dict[str, Any]) -> dict[str, Any]:
        """The text and its label."""
        return {self.section.text: text, self.section.label: answer["label"]}


def probabilities(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Softmax over the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def mean_choice(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logits [..., labels] whose softmax is the mean of those of [models, ..., labels]."""
    return np.asarray(np.log(np.clip(probabilities(logits).mean(axis=0), 1e-300, 1)))
