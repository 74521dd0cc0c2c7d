"""Tokens hidden from a model, so that it does not rest on a few of them."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from gb_ray.corpus.reading.reader import Sample
from gb_ray.section import UserError
from gb_ray.train.schedule import Step


class WordDropout:
    """Puts the tokenizer's mask, or where it has none its unknown token, in the place of tokens at `rate`.

    Which ones follows from seed, step and sample alone: not from who reads it, when, or what lies beside it. Special
    tokens stay. Raises UserError for a tokenizer with neither.
    """

    def __init__(self, rate: float, tokenizer: Any, seed: int):
        blank = tokenizer.unk_token_id if tokenizer.mask_token_id is None else tokenizer.mask_token_id
        if blank is None:
            raise UserError("train.word_dropout: the tokenizer has no mask and no unknown token; set it to 0")
        self._blank, self._seed = blank, seed
        self._special = np.array(sorted(tokenizer.all_special_ids), np.int32)
        # An integer: all of 64 bits are drawn, which a float does not hold.
        self._cut = np.uint64(int(rate * 2**64))

    def __call__(self, step: Step, sample: Sample) -> Sample:
        """The sample as it is read in a step."""
        name = f"words/{self._seed}/{step.epoch}/{step.start}/{sample.task}/{sample.id}"
        key = np.frombuffer(hashlib.sha256(name.encode()).digest()[:16], np.uint64)
        drawn = np.random.Philox(key=key).random_raw(len(sample.input_ids)) < self._cut
        hidden = drawn & ~np.isin(sample.input_ids, self._special)
        return sample._replace(input_ids=np.where(hidden, np.int32(self._blank), sample.input_ids))
