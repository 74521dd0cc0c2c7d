"""The tokens of texts, of which every word goes through the tokenizer once.

texts    the wind rose | the sea rose        words   the  wind  rose  sea
                                             tokens  12   7 31  9     40 2      tokenised once
tokens   12 7 31 9     | 12 40 2 9           gathered
"""

from __future__ import annotations

import json
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

MARK = "|"
"""Stands between the words that are tokenised in one go; any sign will do that has a token of its own."""
GO = 512
"""Words in one go."""
MOST = 1 << 20
"""Words that are remembered: about 150 MB."""
NORMALIZERS = {None, "BertNormalizer", "Lowercase"}
PRE_TOKENIZERS = {"BertPreTokenizer", "Whitespace", "WhitespaceSplit"}


class Words:
    """A memory of words and their tokens, for one tokenizer."""

    def __init__(self, backend: Any):
        """`backend` is a `tokenizers.Tokenizer` of which `apart` is true, without truncation and padding."""
        self._backend = backend
        self._mark = self._encode([MARK])[0]
        self._numbers: dict[str, int] = {}
        self._starts: NDArray[np.int64] = np.zeros(1, np.int64)
        self._ids: NDArray[np.int32] = np.empty(0, np.int32)

    @staticmethod
    def apart(state: str) -> bool:
        """Whether the tokens of a text are those of its words, one after another. `state` is the tokenizer's JSON.

        So it is where blanks are dropped, every character is changed by itself, and no added token reaches over one.
        """
        found = json.loads(state)
        kinds = [(found[part] or {}).get("type") for part in ("normalizer", "pre_tokenizer")]
        added = (token for token in found["added_tokens"])
        return (
            kinds[0] in NORMALIZERS
            and kinds[1] in PRE_TOKENIZERS
            and not any(token["lstrip"] or token["rstrip"] or " " in token["content"] for token in added)
        )

    def tokens(self, texts: list[str]) -> pa.ListArray:
        """list<int32> of each text, without special tokens."""
        words = pc.split_pattern(pa.array(texts, pa.string()), " ")
        unique = words.flatten().dictionary_encode()
        numbers = self._numbers_of(unique.dictionary.to_pylist())[unique.indices.to_numpy()]
        starts, lengths = self._starts[numbers], self._starts[numbers + 1] - self._starts[numbers]
        before = np.concatenate([[0], np.cumsum(lengths)])[words.offsets.to_numpy()]
        return pa.ListArray.from_arrays(pa.array(before, pa.int32()), pa.array(self._ids[ranges(starts, lengths)]))

    def _numbers_of(self, words: list[str]) -> NDArray[np.int64]:
        if len(self._numbers) + len(words) > MOST:
            self._numbers, self._starts, self._ids = {}, self._starts[:1], self._ids[:0]
        numbers = np.fromiter((self._numbers.get(word, -1) for word in words), np.int64, len(words))
        places = np.flatnonzero(numbers < 0)
        numbers[places] = len(self._numbers) + np.arange(len(places))
        new = [words[i] for i in places]
        self._numbers.update(zip(new, numbers[places].tolist(), strict=True))
        found = [self._go(new[start : start + GO]) for start in range(0, len(new), GO)]
        lengths = np.concatenate([np.empty(0, np.int64), *(lengths for _, lengths in found)])
        self._starts = np.concatenate([self._starts, self._starts[-1] + np.cumsum(lengths)])
        self._ids = np.concatenate([self._ids, *(ids for ids, _ in found)])
        return numbers

    def _go(self, words: list[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """The tokens of all words, and how many each has. Alone, a word costs three times as much."""
        ids = np.array(self._encode([f" {MARK} ".join(words)])[0], np.int32)
        marked = ids == self._mark[0]
        if len(self._mark) == 1 and marked.sum() == len(words) - 1:
            bounds = np.concatenate([[-1], np.flatnonzero(marked), [len(ids)]])
            return ids[~marked], np.diff(bounds) - 1
        each = self._encode(words)  # the mark is in a word
        return np.array([*chain.from_iterable(each)], np.int32), np.array([*map(len, each)], np.int64)

    def _encode(self, texts: list[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self._backend.encode_batch_fast(texts, add_special_tokens=False)]


def ranges(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """start, start + 1 ... start + length - 1 of each, one after another."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(lengths.sum())
