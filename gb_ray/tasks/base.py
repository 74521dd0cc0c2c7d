"""What tasks have in common unless they say otherwise."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gb_ray.corpus.clean.text import fold
from gb_ray.corpus.corpus import Corpus
from gb_ray.tasks.tokenizer import Tokeniser, tokeniser

if TYPE_CHECKING:  # imported where it is used: workers that only tokenise start seconds sooner without it
    import torch

    from gb_ray.corpus.reading.reader import Sample

IGNORED = -100
"""The label of a token that nothing is asked of: special tokens, words after their first token, prompts."""

HOW = {"label_smoothing", "focal", "class_weights", "weight", "balance"}
"""Keys that say how a task is learnt: they decide nothing of the samples."""
_LESS_IS_BETTER = ("loss", "perplexity", "bits", "mae", "rmse")


class Base:
    """A task that learns nothing of a corpus beforehand and has one output a label."""

    chooses_one = False
    """See Encoder."""

    @property
    def balance(self) -> float:
        """See Encoder."""
        return 0.0

    @property
    def context(self) -> int:
        """See Encoder."""
        return 0

    @property
    def document(self) -> str | None:
        """See Encoder."""
        return None

    tokens_at_once = 4096
    """Whose outputs evaluation holds in memory at once, padding included."""

    @property
    def state(self) -> dict[str, Any]:
        """What `prepare` learnt (JSON): it goes with the exported model, which does not answer without it."""
        return {}

    def ready(self) -> Self:
        """See Encoder."""
        return self

    def prepare(self, corpus: Corpus) -> Self:
        """The task with its state, learnt from the train split unless it has one already. Raises UserError."""
        return self

    texts_a_sample = 1
    """Rows of the model that each sample takes."""

    def rows(self, samples: list[Sample]) -> list[Sample]:
        """What the model takes of samples as one text each; their labels are then those that `targets` takes."""
        return samples

    def joined(
        self, scored: list[tuple[str, NDArray[np.floating], Any]]
    ) -> list[tuple[str, NDArray[np.floating], Any]]:
        """One entry a sample of (id, what was `kept`, label), of which there is one a row."""
        return scored

    headline = "loss"
    """The metric by which models and parts of a split are ranked."""

    of_whole: frozenset[str] = frozenset()
    """Metrics that say nothing of a part of a split."""

    def statistics(
        self, logits: list[NDArray[np.floating]], targets: list[Any], labels: list[str]
    ) -> NDArray[np.float64]:
        """float64 [samples, k] of what was `kept`: numbers whose sums over samples decide every metric.

        The first is how many answers the sample was asked for, the second the sum of their losses.
        """
        raise NotImplementedError

    def from_sums(self, sums: NDArray[np.float64], labels: list[str]) -> dict[str, NDArray[np.float64]]:
        """Each metric [...] of sums of statistics [..., k], the headline first; NaN where it is not defined."""
        raise NotImplementedError

    def of_part(self, sums: NDArray[np.float64], labels: list[str]) -> dict[str, NDArray[np.float64]]:
        """What `from_sums` gives, of a part of a split: NaN also where 0 would say that nothing was there to be found.

        Beside other parts, where there was something, such a 0 would be the worst of all.
        """
        return self.from_sums(sums, labels)

    def metrics(self, logits: list[NDArray[np.floating]], targets: list[Any], labels: list[str]) -> dict[str, float]:
        """The metrics of all samples together; one that is not defined on them is absent."""
        sums = self.statistics(logits, targets, labels).sum(axis=0)
        return {name: float(value) for name, value in self.from_sums(sums, labels).items() if not np.isnan(value)}

    def decisions(
        self, logits: list[NDArray[np.floating]], targets: list[Any]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]] | None:
        """Logits [decisions, choices] and the right choices [decisions]; None for a task that gives no probabilities.

        The softmax of the logits are the probabilities of its answers, before they are divided by a temperature.
        """
        return None

    def names(self, target: Any, labels: list[str]) -> set[str]:
        """The labels under which a sample counts when a split is looked at by label."""
        return set()

    def kept(self, logits: NDArray[np.float32], label: Any) -> NDArray[np.floating]:
        """What `metrics` wants of a sample: logits [labels], or what is made of [tokens, labels], padding included."""
        return logits

    def mean(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """What several models would keep of a sample as one: [models, ...] to [...], the mean of what they answer."""
        return np.asarray(logits.mean(axis=0))

    def restated(self, logits: list[NDArray[np.floating]], other: Any) -> list[NDArray[np.floating]]:
        """What was `kept`, as a model of the `other` task, of the same kind, would have said the same."""
        return logits

    def head(self, labels: list[str]) -> dict[str, Any]:
        """The model's configuration of its outputs."""
        return numbered(labels)


class WholeText(Base):
    """A task with one answer about a text as a whole. Its clean rows have a field `text`."""

    section: Any
    backbone: str
    max_tokens: int
    min_chars: int
    tokeniser: Tokeniser | None = None

    def ready(self) -> Self:
        """See Encoder."""
        found = copy(self)
        found.tokeniser = tokeniser(self.backbone)
        return found

    @property
    def text_columns(self) -> list[str]:
        """See Encoder."""
        return [self.section.text]

    def text(self, fields: dict[str, Any]) -> str:
        """The text."""
        return str(fields["text"])

    def with_text(self, fields: dict[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
        """The text changed, what is to be learnt of it as it is."""
        return {**fields, "text": change(fields["text"])}

    def identity(self, fields: dict[str, Any]) -> str:
        """The text: one text with two answers is a duplicate, counted as conflicting."""
        return str(fields["text"])

    def read(self, texts: list[str]) -> list[tuple[list[int], list[tuple[int, int]]]]:
        """Tokens of texts to be answered, and no places: the answer is about the whole text."""
        found = self._tokeniser().ids([fold(text) for text in texts], self.max_tokens)
        return [(ids, [(0, 0)] * len(ids)) for ids in found]

    def tokens(self, texts: list[str]) -> pa.ListArray:
        """list<int32>: the tokens of clean texts, cut at `max_tokens`."""
        return self._tokeniser().column(texts, self.max_tokens)

    def _tokeniser(self) -> Tokeniser:
        return self.tokeniser or tokeniser(self.backbone)

    def fingerprint(self) -> dict[str, Any]:
        """See Encoder."""
        section = self.section.model_dump(mode="json", exclude=HOW)
        return {**section, "max_tokens": self.max_tokens, "min_chars": self.min_chars}

    def supervised(self, label: Any) -> int:
        """One answer a sample."""
        return 1


class PerToken(Base):
    """A task with an answer a token. The label of a sample is int32 [tokens], IGNORED where nothing is asked."""

    def targets(self, labels: list[Any], width: int) -> torch.Tensor:
        """int64 [samples, width], IGNORED where padded."""
        import torch

        table = np.full((len(labels), width), IGNORED, np.int64)
        for row, label in zip(table, labels, strict=True):
            row[: len(label)] = label
        return torch.from_numpy(table)

    def supervised(self, label: Any) -> int:
        """The tokens of a sample that something is asked of."""
        return int((np.asarray(label) != IGNORED).sum())

    def blank(self, tokens: int) -> NDArray[np.int32]:
        """The labels of a sample that only fills a place."""
        return np.full(tokens, IGNORED, np.int32)


def sign(metric: str, several: bool = False) -> int:
    """1 when more of a metric is better, -1 when less is; of a model of `several` tasks its name is TASK.METRIC.

    Only the first dot parts the two: a task's name has none, and a metric's may, as the name of its target may.
    """
    own = metric.partition(".")[2] if several else metric
    return -1 if own.partition("_")[0] in _LESS_IS_BETTER else 1


def share(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """part / whole, and 0 where both are."""
    return np.asarray(part / np.where(whole == 0, 1, whole))


def macro_f1(right: NDArray[np.float64], named: NDArray[np.float64]) -> NDArray[np.float64]:
    """[...] of counts [..., labels]: the mean F1 of the labels that are true or answered somewhere, 0 without any.

    `named` is how often a label is true plus how often it is answered.
    """
    return share(share(2 * right, named).sum(axis=-1), (named > 0).sum(axis=-1).astype(np.float64))


def numbered(names: list[str]) -> dict[str, Any]:
    """The keys under which a model's configuration names its outputs."""
    return {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}
