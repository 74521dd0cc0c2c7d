"""Any number of labels a text: the topics a report touches on, the needs a message names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gb_ray.corpus.clean.text import clean_text
from gb_ray.corpus.corpus import Corpus
from gb_ray.corpus.encoder import Reject
from gb_ray.section import UserError
from gb_ray.tasks.area import roc_auc
from gb_ray.tasks.base import WholeText, macro_f1, share
from gb_ray.tasks.imbalance import Imbalanced, focal
from gb_ray.tasks.label import label_name
from gb_ray.tasks.section import SequenceClassificationSection
from gb_ray.tasks.tokenizer import column

if TYPE_CHECKING:  # imported where it is used: workers that only tokenise start seconds sooner without it
    import torch

ABSENT = -1
"""What fills up the list of a sample with fewer labels than another of its batch."""


class MultiLabel(Imbalanced, WholeText):
    """The task `sequence-classification` with `multi_label`. `backbone` is the folder of the tokenizer."""

    headline = "micro_f1"
    of_whole = frozenset({"macro_f1", "roc_auc"})
    architecture = "AutoModelForSequenceClassification"
    fields = pa.schema({"text": pa.string(), "label_names": pa.list_(pa.string())})
    samples = pa.schema({"input_ids": pa.list_(pa.int32()), "label": pa.list_(pa.int32())})

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

    def prepare(self, corpus: Corpus) -> Self:
        """See Imbalanced.prepare. Raises UserError also when no row of the corpus has a label."""
        if not corpus.manifest.labels:
            raise UserError(f"{corpus.uri}: no row has a label in {self.section.label!r}; there is nothing to learn")
        return super().prepare(corpus)

    def _balanced(self, corpus: Corpus) -> list[float]:
        """That a label is there counts as much, all over the train split, as that it is not."""
        split = corpus.manifest.splits["train"]
        there = [split.labels.get(label, 0) for label in corpus.manifest.labels]
        return [(split.samples - count) / count if 0 < count < split.samples else 1.0 for count in there]

    def clean(self, row: dict[str, Any]) -> dict[str, Any]:
        """`text` and `label_names`, sorted, each once. Raises Reject."""
        text = clean_text(row[self.section.text], self.section.text, self.min_chars)
        names = {label_name(value, self.section.label) for value in self._values(row[self.section.label])}
        if self.section.labels and not names <= set(self.section.labels):
            raise Reject(f"{self.section.label} has a label outside the label set")
        return {"text": text, "label_names": sorted(names)}

    def _values(self, cell: Any) -> list[Any]:
        if isinstance(cell, list):
            return cell
        if isinstance(cell, str) and self.section.separator is not None:
            return [part for part in cell.split(self.section.separator) if part.strip()]
        # Nothing is known of the labels of a row without a list: that is not the same as none.
        raise Reject(f"{self.section.label} is {'null' if cell is None else type(cell).__name__}, expected a list")

    def stratum(self, fields: dict[str, Any]) -> str:
        """The set of labels."""
        return "\x1f".join(fields["label_names"])

    def labels_of(self, fields: dict[str, Any]) -> set[str]:
        """Its labels, and every label that the recipe names: one that no row has is a label all the same."""
        return {*fields["label_names"], *(self.section.labels or ())}

    def encode(self, rows: list[dict[str, Any]], labels: list[str]) -> dict[str, Any]:
        """`input_ids` and the numbers of the labels, sorted."""
        number = {name: i for i, name in enumerate(labels)}
        return {
            "input_ids": self.tokens([row["text"] for row in rows]),
            "label": column([sorted(number[name] for name in row["label_names"]) for row in rows]),
        }

    def targets(self, labels: list[Any], width: int) -> torch.Tensor:
        """int64 [samples, most labels of a sample], ABSENT where a sample has fewer."""
        import torch

        table = np.full((len(labels), max(map(len, labels), default=0)), ABSENT, np.int64)
        for row, label in zip(table, labels, strict=True):
            row[: len(label)] = label
        return torch.from_numpy(table)

    def blank(self, tokens: int) -> NDArray[np.int32]:
        """The labels of a sample that only fills a place."""
        return np.empty(0, np.int32)

    def loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Binary cross entropy, or its focal loss: the mean over labels, summed over samples (scalar).

        Divided by the global count of samples, as the caller does, it is the mean over samples of the mean over labels.
        A class weight is of a label that is there; that it is not counts 1.
        """
        import torch

        wanted = torch.zeros(len(targets), logits.shape[1] + 1, device=logits.device)
        # ABSENT goes to a column of its own, which is left out.
        wanted.scatter_(1, targets.where(targets != ABSENT, logits.shape[1]), 1.0)
        there = wanted[:, :-1]
        losses = torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), there, reduction="none")
        losses = focal(losses, self.section.focal)
        if weights := self._state.get("class_weights"):
            losses = losses * (1 + there * (losses.new_tensor(weights) - 1))
        return losses.sum() / logits.shape[1]

    def statistics(
        self, logits: list[NDArray[np.floating]], targets: list[Any], labels: list[str]
    ) -> NDArray[np.float64]:
        """[1, loss, all right, area, and of each label: right, true or answered] of logits [labels] a sample.

        A label is answered above 0.5.
        """
        table = np.stack(logits).astype(np.float64)
        truth, answers = _hot(targets, len(labels)), table > 0
        losses = (np.logaddexp(0, table) - table * truth).mean(axis=1)
        by_label = [truth & answers, truth.astype(np.float64) + answers]
        whole = [np.ones(len(table)), losses, (truth == answers).all(axis=1), roc_auc(table, truth)]
        return np.column_stack([*whole, *by_label])

    def from_sums(self, sums: NDArray[np.float64], labels: list[str]) -> dict[str, NDArray[np.float64]]:
        """micro_f1, macro_f1, exact_match, loss and roc_auc.

        macro_f1 averages over the labels in targets or answers; roc_auc over those that some samples have and some
        have not, and is not defined when there are none. An F1 without anything to find or found is 0. exact_match is
        the share of samples with exactly the right labels.
        """
        count, loss, exact, area = np.moveaxis(sums[..., :4], -1, 0)
        right, named = sums[..., 4 : 4 + len(labels)], sums[..., 4 + len(labels) :]
        return {
            "micro_f1": share(2 * right.sum(axis=-1), named.sum(axis=-1)),
            "macro_f1": macro_f1(right, named),
            "exact_match": exact / count,
            "loss": loss / count,
            "roc_auc": area / count,
        }

    def of_part(self, sums: NDArray[np.float64], labels: list[str]) -> dict[str, NDArray[np.float64]]:
        """Without a label that is true or was answered, no micro_f1."""
        metrics, named = self.from_sums(sums, labels), sums[..., 4 + len(labels) :].sum(axis=-1)
        return metrics | {"micro_f1": np.where(named > 0, metrics["micro_f1"], np.nan)}

    def decisions(
        self, logits: list[NDArray[np.floating]], targets: list[Any]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]] | None:
        """One a sample and label: that it is not there, or that it is."""
        table = np.stack(logits).astype(np.float64)
        there = table.ravel()
        return np.column_stack([np.zeros(len(there)), there]), _hot(targets, table.shape[1]).ravel().astype(np.int64)

    def names(self, target: Any, labels: list[str]) -> set[str]:
        """Its labels."""
        return {labels[number] for number in target}

    def mean(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Logits [labels] of the mean of the models' probabilities."""
        each = 1 / (1 + np.exp(-logits.clip(-700, 700)))
        mean = each.mean(axis=0).clip(1e-300, 1 - 1e-16)
        return np.asarray(np.log(mean) - np.log1p(-mean))

    def answer(self, text: str, offsets: list[tuple[int, int]], logits: NDArray[np.float32], labels: list[str]) -> Any:
        """The labels of a text whose probability is above 0.5, and the probability of every label."""
        scores = 1 / (1 + np.exp(-logits.astype(np.float64).clip(-700, 700)))
        return {
            "labels": [name for name, logit in zip(labels, logits, strict=True) if logit > 0],
            "probabilities": {name: float(score) for name, score in zip(labels, scores, strict=True)},
        }

    def row(self, text: str, offsets: list[tuple[int, int]], answer: dict[str, Any]) -> dict[str, Any]:
        """The text and its labels, a list."""
        return {self.section.text: text, self.section.label: answer["labels"]}


def _hot(targets: list[Any], labels: int) -> NDArray[np.bool_]:
    """Which labels [samples, labels] each sample has."""
    truth = np.zeros((len(targets), labels), bool)
    for row, target in zip(truth, targets, strict=True):
        row[np.asarray(target, np.int64)] = True
    return truth
