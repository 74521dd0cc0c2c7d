"""Tokens hidden from a model or left out, so that it does not rest on a few of them.

Which ones follows from seed, step and sample alone: not from who reads it, when, or what lies beside it. Special tokens
stay as they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gb_ray.corpus.reading.reader import Sample
from gb_ray.section import UserError
from gb_ray.train.schedule import Step
from gb_ray.train.section import TrainSection

Change = Callable[[Step, Sample], Sample]
"""From a sample to what is read of it in a step."""


def changes(section: TrainSection, tokenizer: Any, seed: int) -> list[Change]:
    """Those that a recipe asks for, in the order they are made. Raises UserError."""
    kinds: list[tuple[type[WordDeletion] | type[WordDropout], float]] = [
        (WordDeletion, section.word_deletion),
        (WordDropout, section.word_dropout),
    ]
    return [kind(rate, tokenizer, seed) for kind, rate in kinds if rate]


class WordDropout:
    """Puts the tokenizer's mask, or where it has none its unknown token, in the place of tokens at `rate`.

    Raises UserError for a tokenizer with neither.
    """

    def __init__(self, rate: float, tokenizer: Any, seed: int):
        blank = tokenizer.unk_token_id if tokenizer.mask_token_id is None else tokenizer.mask_token_id
        if blank is None:
            raise UserError("train.word_dropout: the tokenizer has no mask and no unknown token; set it to 0")
        self._blank, self._draw = np.int32(blank), _Draw("dropout", rate, tokenizer, seed)

    def __call__(self, step: Step, sample: Sample) -> Sample:
        """The sample as it is read in a step."""
        return sample._replace(input_ids=np.where(self._draw(step, sample), self._blank, sample.input_ids))


class WordDeletion:
    """Leaves out tokens at `rate`; of tasks about whole texts.

    What Wei and Zou, EDA: Easy Data Augmentation Techniques (https://arxiv.org/abs/1901.11196), call random deletion.
    Of a sample of which no token would be left but special ones, nothing is left out.
    """

    def __init__(self, rate: float, tokenizer: Any, seed: int):
        self._draw = _Draw("deletion", rate, tokenizer, seed)

    def __call__(self, step: Step, sample: Sample) -> Sample:
        """The sample as it is read in a step."""
        kept = ~self._draw(step, sample)
        left = sample.input_ids[kept]
        return sample if self._draw.all_special(left) else sample._replace(input_ids=left)


class _Draw:
    def __init__(self, purpose: str, rate: float, tokenizer: Any, seed: int):
        self._name = f"{purpose}/{seed}"
        self._special = np.array(sorted(tokenizer.all_special_ids), np.int32)
        # An integer: all of 64 bits are drawn, which a float does not hold.
        self._cut = np.uint64(int(rate * 2**64))

    def __call__(self, step: Step, sample: Sample) -> NDArray[np.bool_]:
        """Which tokens [tokens] are drawn."""
        name = f"{self._name}/{step.epoch}/{step.start}/{sample.task}/{sample.id}"
        key = np.frombuffer(hashlib.sha256(name.encode()).digest()[:16], np.uint64)
        drawn = np.random.Philox(key=key).random_raw(len(sample.input_ids)) < self._cut
        return np.asarray(drawn & ~self._is_special(sample.input_ids))

    def all_special(self, ids: NDArray[np.int32]) -> bool:
        """Whether there is nothing to read in tokens."""
        return bool(self._is_special(ids).all())

    def _is_special(self, ids: NDArray[np.int32]) -> NDArray[np.bool_]:
        return np.isin(ids, self._special)
