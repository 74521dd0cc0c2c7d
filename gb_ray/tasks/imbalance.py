"""Frequent labels must not drown the rare ones: what an answer counts by its label, and by how well it is given."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any, Self

from gb_ray.corpus.corpus import Corpus
from gb_ray.section import UserError

if TYPE_CHECKING:  # imported where it is used: workers that only tokenise start seconds sooner without it
    import torch

LEAST = 1e-7
"""Below it a power less than 1 of a probability has no finite gradient."""


class Imbalanced:
    """What tasks that choose among labels have in common: `focal` and `class_weights` of their sections."""

    section: Any
    _state: dict[str, Any]

    @property
    def state(self) -> dict[str, Any]:
        """`class_weights`: what an answer counts, by the number of its label. Empty where all count alike."""
        return self._state

    def prepare(self, corpus: Corpus) -> Self:
        """With the weights of the labels that the corpus has. Raises UserError for one that it has not."""
        wanted = self.section.class_weights
        if self._state or wanted is None:
            return self
        found = copy(self)
        found._state = {"class_weights": self._balanced(corpus) if wanted == "balanced" else _named(wanted, corpus)}
        return found

    def _balanced(self, corpus: Corpus) -> list[float]:
        """A label counts the less the more often the train split has it, and all answers together as without weights.

        It is answers / (labels * answers with the label), for those that are there at all.
        """
        counts = corpus.manifest.splits["train"].labels
        even = sum(counts.values()) / max(1, len(counts))
        return [even / counts[label] if counts.get(label) else 1.0 for label in corpus.manifest.labels]

    def weighed(self, losses: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Sum of `losses` (fp32 [n], each -log of the right answer's probability p) as the section has them count.

        `labels` (int64 [n]) are the right answers; where one is negative the loss must be 0. With gamma, `focal`, it is
        the sum of weight * (1 - p)^gamma * -log p: https://arxiv.org/abs/1708.02002, equation 5.
        """
        losses = focal(losses, self.section.focal)
        weights = self._state.get("class_weights")
        return losses.sum() if weights is None else (losses * losses.new_tensor(weights)[labels.clamp(min=0)]).sum()


def focal(losses: torch.Tensor, gamma: float) -> torch.Tensor:
    """(1 - p)^gamma * -log p for `losses` (fp32 of any shape), each -log p; with gamma 0 the losses themselves."""
    return (-(-losses).expm1()).clamp(min=LEAST) ** gamma * losses if gamma else losses


def _named(wanted: dict[str, float], corpus: Corpus) -> list[float]:
    labels = corpus.manifest.labels
    if unknown := sorted(wanted.keys() - set(labels)):
        raise UserError(f"class_weights: {corpus.uri} has no label {unknown[0]!r}; it has {', '.join(labels)}")
    return [wanted.get(label, 1.0) for label in labels]
