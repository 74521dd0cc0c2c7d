"""Shingles: the set of hashed character n-grams by which two texts are compared, for all scripts alike.

A text is folded (NFKC, case; punctuation, white space and control characters out) and cut into every run of `UNITS`
units. A unit is one character, but an ideograph, a kana or a Hangul syllable counts as two: it carries about twice as
much as a letter, and one changed word of two ideographs would otherwise cost a Chinese text twice the shingles that it
costs an English one. Words play no part, so scripts that do not separate them are treated as any other.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

UNITS = 5
BATCH_CHARS = 1 << 17
"""Characters hashed together: few calls for short texts, arrays that stay in the processor's cache for long ones."""

_WIDE = ((0x3041, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0x20000, 0x3FFFF))
_IGNORED = {"Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Zs", "Zl", "Zp", "Cc", "Cf"}
_ASSIGNED = ((0, 0x20000), (0xE0000, 0xE1000))
"""Where characters are that may be ignored: between these are ideographs and code points without a character."""
_SECOND_HALF = np.uint32(1 << 31)
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


def shingles(text: str) -> NDArray[np.uint64]:
    """The shingles of a text, sorted, none twice: uint64 [n], n >= 1. `text` has no NUL character.

    A text shorter than a shingle is one shingle; one of nothing but punctuation is compared by its punctuation.
    """
    return sets([text])[0]


def sets(texts: list[str]) -> list[NDArray[np.uint64]]:
    """The shingles of each of many texts, in a fraction of the time that as many calls of `shingles` take."""
    found = []
    for batch in batches(texts):
        flat, offsets = hashes(batch)
        for start, end in pairwise(offsets.tolist()):
            found.append(distinct(flat[start:end]))
    return found


def distinct(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The values, sorted, none twice: np.unique in a fraction of its time. Sorts the array given."""
    values.sort()
    first = np.ones(len(values), bool)
    np.not_equal(values[1:], values[:-1], out=first[1:])
    return values[first]


def jaccard(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> float:
    """Shared shingles over all shingles of two texts: 0 to 1."""
    shared = len(np.intersect1d(one, other, assume_unique=True))
    return shared / (len(one) + len(other) - shared)


def batches(texts: list[str]) -> list[list[str]]:
    """The texts in order, in lists of about `BATCH_CHARS` characters or of one longer text."""
    ends = np.cumsum([len(text) for text in texts])
    cuts = np.flatnonzero(np.diff(ends // BATCH_CHARS)) + 1
    return [texts[start:end] for start, end in pairwise([0, *cuts.tolist(), len(texts)]) if start < end]


def hashes(texts: list[str]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Every shingle of every text, repeated ones too: (uint64 [n], offsets int64 [texts + 1]) in order of the texts.

    The hash is a polynomial of the units, mixed by the finalizer of SplitMix64 (Steele, Lea and Flood, 2014).
    """
    units, lengths = _units(texts)
    padded = np.maximum(lengths, UNITS)
    ends = np.cumsum(padded)
    if padded.sum() != len(units):
        spread = np.zeros(ends[-1], units.dtype)
        spread[np.arange(len(units)) + np.repeat(ends - padded - np.cumsum(lengths) + lengths, lengths)] = units
        units = spread
    total = len(units) - UNITS + 1
    flat = np.zeros(total, np.uint64)
    for offset in range(UNITS):
        flat += units[offset : offset + total]
        flat *= _MULTIPLIER
    inside = np.ones(len(units), bool)
    for back in range(1, UNITS):
        inside[ends - back] = False
    return mix(flat[inside[:total]]), np.concatenate(([0], np.cumsum(padded - UNITS + 1)))


def mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread every bit of each value over all of them; one to one."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = values ^ (values >> np.uint64(31))
    return mixed


def _units(texts: list[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """The units of all texts one after another, and how many each text has."""
    # NUL composes with nothing, so texts joined by it fold as each of them alone.
    folded = unicodedata.normalize("NFKC", "\0".join(texts)).casefold() + "\0"
    codes = np.frombuffer(folded.encode("utf-32-le"), np.uint32)
    counts = _kinds()[codes]
    last = np.flatnonzero(codes == 0)
    first = np.concatenate(([0], last[:-1] + 1))
    lengths = np.add.reduceat(counts, first, dtype=np.int64)
    for text in np.flatnonzero(lengths == 0):
        counts[first[text] : last[text]] = 1
        lengths[text] = last[text] - first[text]
    kept = counts > 0
    codes, counts = codes[kept], counts[kept]
    if counts.max(initial=1) > 1:
        codes = np.repeat(codes, counts)
        second = np.cumsum(counts)[counts == 2] - 1
        codes[second] |= _SECOND_HALF
    return codes, lengths


@cache
def _kinds() -> NDArray[np.uint8]:
    """Units of each code point [0x110000]: 0 for what is ignored, 2 for a wide one, else 1."""
    kinds = np.ones(0x110000, np.uint8)
    for low, high in _ASSIGNED:
        ignored = (unicodedata.category(chr(code)) in _IGNORED for code in range(low, high))
        kinds[low:high] -= np.fromiter(ignored, np.uint8, high - low)
    for low, high in _WIDE:
        kinds[low : high + 1] *= 2
    return kinds
