"""One numbering for the labels of a model and those of a corpus, which may be of another label set."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

NEVER = -1e4
"""The logit of a label that a model does not have: its probability is 0, and float16 has the number."""


class Alignment:
    """From the labels `own` of a model or a corpus to `labels`, which are all of these and maybe more."""

    def __init__(self, own: list[str], labels: list[str]):
        number = {name: i for i, name in enumerate(labels)}
        self._numbers, self._width = np.array([number[name] for name in own], np.int32), len(labels)
        self._same = bool((self._numbers == np.arange(len(own))).all())

    def label(self, label: Any) -> Any:
        """A sample's label by the numbers of `labels`; what is negative asks nothing and stays, as numbers do."""
        if self._same:
            return label
        if isinstance(label, int):
            return int(self._numbers[label])
        return np.where(label < 0, label, self._numbers[np.maximum(label, 0)])

    def logits(self, logits: NDArray[np.floating]) -> NDArray[np.floating]:
        """A model's logits [..., own labels] as [..., labels]."""
        if self._same and self._width == len(self._numbers):
            return logits
        wide = np.full((*logits.shape[:-1], self._width), NEVER, logits.dtype)
        wide[..., self._numbers] = logits
        return wide


def union(first: list[str], *others: Iterable[str]) -> list[str]:
    """The labels of the first, in their order, then the others' that are new, sorted."""
    return [*first, *sorted({name for names in others for name in names} - set(first))]
