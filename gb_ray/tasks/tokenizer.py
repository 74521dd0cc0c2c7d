"""The tokenizer of a backbone, loaded once a process."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gb_ray.section import UserError
from gb_ray.tasks.words import Words, ranges

CHARS_A_TOKEN = 6
"""Most texts have fewer characters a token; of those that have more, twice as many are looked at, and so on."""


@lru_cache(maxsize=4)
def tokenizer(path: str, revision: str | None = None) -> Any:
    """A fast `PreTrainedTokenizer`. Raises UserError when there is none at `path`."""
    # Forked after use, the library's own threads would dead-lock; processes are our parallelism.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from transformers import AutoTokenizer

    try:
        loaded = AutoTokenizer.from_pretrained(path, revision=revision, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: no tokenizer there that can be loaded: {str(error).splitlines()[0]}") from None
    if not loaded.is_fast:
        raise UserError(f"{path}: its tokenizer has no fast version, which this project needs for offsets")
    return loaded


def rules(path: str) -> dict[str, Any]:
    """What decides the tokens of a text: cutting and padding are set by every caller."""
    content = json.loads(tokenizer(path).backend_tokenizer.to_str())
    return {key: value for key, value in content.items() if key not in ("truncation", "padding")}


@dataclass(frozen=True)
class Tokeniser:
    """From texts to the numbers of their tokens. It travels to workers, which start without `transformers` (3 s)."""

    backend: Any
    truncation_side: str
    split_special_tokens: bool
    state: str
    """The backend's JSON."""

    @classmethod
    def of(cls, loaded: Any) -> Tokeniser:
        """That of a `PreTrainedTokenizer`."""
        backend = loaded.backend_tokenizer
        backend.no_truncation()
        backend.no_padding()
        return cls(backend, loaded.truncation_side, loaded.split_special_tokens, backend.to_str())

    def column(self, texts: list[str], max_tokens: int) -> pa.ListArray:
        """What `ids` returns, as list<int32>: for many texts, most of whose words come again and again."""
        words = _words(self.state, self.split_special_tokens)
        if self.truncation_side != "right" or words is None:
            return column(self.ids(texts, max_tokens))
        first, last = _around(self.backend)
        room = max_tokens - len(first) - len(last)
        heads = [_head(text, max_tokens * CHARS_A_TOKEN) for text in texts]
        found = words.tokens(heads)
        cut = np.array([len(head) < len(text) for head, text in zip(heads, texts, strict=True)], bool)
        short = np.flatnonzero(cut & (pc.list_value_length(found).to_numpy() < room))
        if len(short):
            places = np.arange(len(texts))
            places[short] = len(texts) + np.arange(len(short))
            found = pa.concat_arrays([found, words.tokens([texts[i] for i in short])]).take(pa.array(places))
        return _surrounded(pc.list_slice(found, 0, room), first, last)

    def ids(self, texts: list[str], max_tokens: int) -> list[list[int]]:
        """What `loaded(texts, truncation=True, max_length=max_tokens)["input_ids"]` is.

        Of a long text only its beginning is looked at, where that is sure to give the same tokens.
        """
        # The library's settings outlive a call: each caller sets all of them.
        self.backend.enable_truncation(max_tokens, direction=self.truncation_side)
        self.backend.no_padding()
        self.backend.encode_special_tokens = self.split_special_tokens
        if self.truncation_side != "right" or not self._parts_words():
            return self._encode(texts)
        found: list[list[int]] = [[] for _ in texts]
        left, chars = list(range(len(texts))), max_tokens * CHARS_A_TOKEN
        while left:
            heads = [_head(texts[i], chars) for i in left]
            for i, ids in zip(left, self._encode(heads), strict=True):
                found[i] = ids
            cut = [i for i, head in zip(left, heads, strict=True) if len(head) < len(texts[i])]
            left, chars = [i for i in cut if len(found[i]) < max_tokens], 2 * chars
        return found

    def _encode(self, texts: list[str]) -> list[list[int]]:
        return [encoding.ids for encoding in self.backend.encode_batch_fast(texts)]

    def _parts_words(self) -> bool:
        """Whether no token reaches over a blank, so that what follows one changes nothing before it."""
        parts = self.backend.pre_tokenizer
        return parts is not None and len(parts.pre_tokenize_str("a b")) > 1


@lru_cache(maxsize=4)
def tokeniser(path: str) -> Tokeniser:
    """That of the tokenizer at `path`. Raises UserError when there is none."""
    return Tokeniser.of(tokenizer(path))


@lru_cache(maxsize=2)
def _words(state: str, split_special_tokens: bool) -> Words | None:
    """A process remembers the words of all its chunks of texts. None where a text is more than its words."""
    if not Words.apart(state):
        return None
    # Imported here: workers that tokenise otherwise have it in their tokenizer.
    from tokenizers import Tokenizer

    backend = Tokenizer.from_str(state)
    backend.encode_special_tokens = split_special_tokens
    return Words(backend)


def _around(backend: Any) -> tuple[list[int], list[int]]:
    """The special tokens before and after a text."""
    backend.no_truncation()
    backend.no_padding()
    found = backend.encode("a")
    inside = [i for i, special in enumerate(found.special_tokens_mask) if not special]
    return found.ids[: inside[0]], found.ids[inside[-1] + 1 :]


def _surrounded(bodies: pa.ListArray, first: list[int], last: list[int]) -> pa.ListArray:
    """Every list with `first` before and `last` after it."""
    lengths = pc.list_value_length(bodies).to_numpy().astype(np.int64)
    ends = np.cumsum(lengths + len(first) + len(last))
    values = np.empty(ends[-1] if len(ends) else 0, np.int32)
    starts = ends - lengths - len(first) - len(last)
    for i, number in enumerate(first):
        values[starts + i] = number
    for i, number in enumerate(last):
        values[ends - len(last) + i] = number
    values[ranges(starts + len(first), lengths)] = bodies.flatten().to_numpy()
    return pa.ListArray.from_arrays(pa.array(np.concatenate([[0], ends]), pa.int32()), pa.array(values))


def _head(text: str, chars: int) -> str:
    """The words of the first `chars` characters; the whole text where there is no blank among them."""
    if len(text) <= chars:
        return text
    end = text.rfind(" ", 0, chars)
    return text[:end] if end > 0 else text


def column(lists: list[list[int]]) -> pa.ListArray:
    """A list<int32> column; in half the time that Arrow takes to find the type of every number."""
    offsets = [0, *accumulate(map(len, lists))]
    values = np.fromiter(chain.from_iterable(lists), np.int32, offsets[-1])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values))


def padding(loaded: Any) -> int:
    """The number that fills up rows. A model sees no padding, so any will do where the tokenizer has none."""
    return 0 if loaded.pad_token_id is None else int(loaded.pad_token_id)


def needs_blank(loaded: Any) -> bool:
    """Whether words given one by one need a blank before them: a byte-level BPE has other tokens for words without."""
    first = loaded.backend_tokenizer.pre_tokenizer
    if first is None:
        return False
    state = json.loads(first.__getstate__())
    steps = state.get("pretokenizers", [state])
    return any(step["type"] == "ByteLevel" and not step["add_prefix_space"] for step in steps)
