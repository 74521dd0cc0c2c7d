"""Numbers a text: a severity, a load, a price."""

from __future__ import annotations

import re
from dataclasses import asdict
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gb_ray.corpus.clean.text import clean_text
from gb_ray.corpus.corpus import Corpus
from gb_ray.corpus.encoder import Reject
from gb_ray.tasks.base import WholeText, numbered
from gb_ray.tasks.scale import Scale, measure
from gb_ray.tasks.section import RegressionSection

if TYPE_CHECKING:  # imported where it is used: workers that only tokenise start seconds sooner without it
    import torch

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_LARGEST = float(np.finfo(np.float32).max)


class Regression(WholeText):
    """The task `regression`. `backbone` is the folder of the tokenizer.

    The model answers in standard deviations from the mean of the train split, so that one learning rate suits every
    unit; `state` has the two, and metrics and answers are in the targets' own units.

    The label of a sample is float32 [targets], or where the section has `last` [2 x targets]: the last known values
    follow. They are there to measure against, so that training, scale and answers see the first half alone. Whether a
    corpus has them is told by its labels, not by the section: two models are measured alike on one split, whichever of
    them was trained with `last`.
    """

    architecture = "AutoModelForSequenceClassification"
    fields = pa.schema({"text": pa.string(), "targets": pa.list_(pa.float64())})
    samples = pa.schema({"input_ids": pa.list_(pa.int32()), "label": pa.list_(pa.float32())})

    def __init__(
        self,
        section: RegressionSection,
        backbone: str,
        max_tokens: int,
        min_chars: int = 1,
        state: dict[str, Any] | None = None,
    ):
        self.section, self.backbone, self.max_tokens, self.min_chars = section, backbone, max_tokens, min_chars
        self.columns = [section.text, *section.targets, *section.last]
        if section.last:
            self.fields = self.fields.append(pa.field("last", pa.list_(pa.float64())))
        self._state = state or {}

    @property
    def state(self) -> dict[str, Any]:
        """Mean and standard deviation of each target."""
        return self._state

    @property
    def scale(self) -> Scale:
        """Known once prepared."""
        return Scale(**self.state)

    def prepare(self, corpus: Corpus) -> Self:
        """With mean and standard deviation of the train split, each sample once. Raises UserError for a constant."""
        from gb_ray.corpus.reading.reader import Reader

        if self._state:
            return self
        with Reader(corpus, "train", 0) as reader:
            rows = (self._asked(sample.label) for sample in reader.once())
            state = asdict(measure(rows, self.section.targets))
        return type(self)(self.section, self.backbone, self.max_tokens, self.min_chars, state)

    def head(self, labels: list[str]) -> dict[str, Any]:
        """One output a target; a corpus of numbers has no labels."""
        return numbered(self.section.targets) | {"problem_type": "regression"}

    def clean(self, row: dict[str, Any]) -> dict[str, Any]:
        """`text`, `targets` and maybe `last`, numbers in the order of the recipe. Raises Reject."""
        text = clean_text(row[self.section.text], self.section.text, self.min_chars)
        columns = {"targets": self.section.targets, "last": self.section.last}
        numbers = {field: [_number(row[name], name) for name in names] for field, names in columns.items() if names}
        return {"text": text, **numbers}

    def stratum(self, fields: dict[str, Any]) -> str:
        """All rows are alike."""
        return ""

    def labels_of(self, fields: dict[str, Any]) -> set[str]:
        """None."""
        return set()

    def encode(self, rows: list[dict[str, Any]], labels: list[str]) -> dict[str, Any]:
        """`input_ids` and the numbers."""
        numbers = [[*row["targets"], *row.get("last", [])] for row in rows]
        return {"input_ids": self.tokens([row["text"] for row in rows]), "label": numbers}

    def targets(self, labels: list[Any], width: int) -> torch.Tensor:
        """float32 [samples, targets], standardised."""
        import torch

        rows = np.reshape([self._asked(label) for label in labels], (len(labels), len(self.section.targets)))
        return torch.from_numpy(self.scale.standard(rows).astype(np.float32))

    def blank(self, tokens: int) -> NDArray[np.float32]:
        """The numbers of a sample that only fills a place."""
        return np.zeros(len(self.section.targets), np.float32)

    def loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Squared error in standard deviations: the mean over targets, summed over samples (scalar)."""
        import torch

        return torch.nn.functional.mse_loss(logits.float(), targets, reduction="sum") / logits.shape[1]

    def statistics(
        self, logits: list[NDArray[np.floating]], targets: list[Any], labels: list[str]
    ) -> NDArray[np.float64]:
        """[1, mean square error, and of each target: error, square error, value, square value], in deviations.

        Errors count without their sign. Values count from the first sample's, so that one that never differs sums to 0.
        Where the samples have last values, the square error of answering these follows, of each target.
        """
        rows, asked = np.stack(targets), len(self.section.targets)
        truth = self.scale.standard(rows[:, :asked])
        errors, apart = np.abs(np.stack(logits) - truth), truth - truth[0]
        whole = [np.ones(len(truth)), (errors**2).mean(axis=1)]
        last = [(self.scale.standard(rows[:, asked:]) - truth) ** 2] if rows.shape[1] > asked else []
        return np.column_stack([*whole, errors, errors**2, apart, apart**2, *last])

    def from_sums(self, sums: NDArray[np.float64], labels: list[str]) -> dict[str, NDArray[np.float64]]:
        """mae_TARGET, rmse_TARGET (in its own unit) and r2_TARGET of each, and loss (mean square, in deviations).

        r2 is one less the squared error over that of always answering the mean of these samples; it is not defined
        for a target that does not differ among them. Samples with last values have skill_TARGET too: one less the
        squared error over that of answering the last value, which is 1 for a model without error, 0 for one no better
        than "the same as last time", and below 0 for a worse one (the skill score of Murphy 1988,
        https://doi.org/10.1175/1520-0493(1988)116<2417:SSBOTM>2.0.CO;2, with persistence as its reference); it is not
        defined where the last value is always right.
        """
        means = sums / sums[..., :1]
        found = {"loss": means[..., 1]}
        kinds = means[..., 2:].reshape(*means.shape[:-1], -1, len(self.section.targets))
        error, square, value, squared, *last = np.moveaxis(kinds, -2, 0)
        spread = squared - value**2
        spread = np.where(spread > 1e-12 * squared, spread, np.nan)  # below, it is rounding
        for i, name in enumerate(self.section.targets):
            unit = self.scale.sd[i]
            found |= {f"mae_{name}": error[..., i] * unit, f"rmse_{name}": np.sqrt(square[..., i]) * unit}
            found[f"r2_{name}"] = 1 - square[..., i] / spread[..., i]
            for reference in last:
                found[f"skill_{name}"] = 1 - square[..., i] / np.where(reference > 0, reference, np.nan)[..., i]
        return found

    def restated(self, logits: list[NDArray[np.floating]], other: Any) -> list[NDArray[np.floating]]:
        """In the other's standard deviations from the other's mean."""
        if other.scale == self.scale:
            return logits
        return [other.scale.standard(self.scale.own(one)) for one in logits]

    def answer(self, text: str, offsets: list[tuple[int, int]], logits: NDArray[np.float32], labels: list[str]) -> Any:
        """The number of each target, in its own unit."""
        return {"values": dict(zip(self.section.targets, self.scale.own(logits).tolist(), strict=True))}

    def row(self, text: str, offsets: list[tuple[int, int]], answer: dict[str, Any]) -> dict[str, Any]:
        """The text and the number of each target."""
        return {self.section.text: text, **answer["values"]}

    def _asked(self, label: Any) -> NDArray[np.floating]:
        """[targets]: a sample's label without its last values."""
        return np.asarray(label)[: len(self.section.targets)]


def _number(value: Any, name: str) -> float:
    if value is None:
        raise Reject(f"{name} is null")
    if isinstance(value, str):
        if not _NUMBER.fullmatch(value.strip()):
            raise Reject(f"{name} is empty" if not value.strip() else f"{name} is text that is not a number")
        value = float(value)
    elif isinstance(value, Decimal):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Reject(f"{name} is {type(value).__name__}, expected a number")
    # Beyond float32 lies infinity, in which samples are kept.
    if not -_LARGEST <= value <= _LARGEST:
        raise Reject(f"{name} is not finite, or too large")
    return float(value)
