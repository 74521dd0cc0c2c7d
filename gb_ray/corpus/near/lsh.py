"""MinHash signatures, their bands, and the pairs of rows that share one: what may be near duplicates.

A signature has `SLOTS` slots. Each shingle falls into one slot by its hash, and the smallest rank in a slot stays
(one-permutation hashing: Li, Owen and Zhang, 2012). A slot that stays empty is filled by hashing all shingles again, up
to `ROUNDS` times (fast similarity sketching: Dahlgaard, Knudsen and Thorup, 2017), and what is empty then takes the
value of another slot (optimal densification: Shrivastava, 2017). Of two texts, each slot is equal with a probability of
their Jaccard similarity.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gb_ray.corpus.near.shingles import batches, distinct, hashes, mix

SLOTS = 192
ROUNDS = 6
RECALL = 0.999
NEIGHBOURS = 8

_EMPTY = np.uint32(0xFFFFFFFF)
_STEP = np.uint64(0x9E3779B97F4A7C15)


def layout(threshold: float) -> tuple[int, int]:
    """(bands, slots a band): the most slots a band with which a pair just at the threshold is found at `RECALL`.

    A pair of similarity s shares a band of r slots with probability s^r and one of b bands with 1 - (1 - s^r)^b
    (Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, section 3.4.2). 0 < threshold <= 1. What is found
    beyond the threshold costs time only, for every pair is verified; what is missed here is missed for good.
    """
    rows = [r for r in range(1, SLOTS + 1) if 1 - (1 - threshold**r) ** (SLOTS // r) >= RECALL]
    return SLOTS // max(rows, default=1), max(rows, default=1)


def bands(texts: list[str], threshold: float) -> NDArray[np.uint64]:
    """The band keys of each text: uint64 [texts, layout(threshold)[0]]. No text has a NUL character.

    Two texts are compared exactly by `near.find` when they have a key in common.
    """
    count, slots = layout(threshold)
    keys = [_keys(signatures(*hashes(batch)), count, slots) for batch in batches(texts)]
    return np.concatenate([np.empty((0, count), np.uint64), *keys])


def signatures(flat: NDArray[np.uint64], offsets: NDArray[np.int64]) -> NDArray[np.uint32]:
    """The signatures of texts whose shingles are `flat[offsets[i]:offsets[i + 1]]`: uint32 [texts, SLOTS]."""
    found = np.full((len(offsets) - 1, SLOTS), _EMPTY)
    rows = np.arange(len(found))
    lengths = np.diff(offsets)
    for round in range(ROUNDS):
        minima = np.full((len(rows), SLOTS), _EMPTY)
        slot = (flat >> np.uint64(32)) * np.uint64(SLOTS) >> np.uint64(32)
        place = np.repeat(np.arange(len(rows)) * SLOTS, lengths) + slot.astype(np.int64)
        np.minimum.at(minima.reshape(-1), place, flat.astype(np.uint32))
        found[rows] = np.where(found[rows] == _EMPTY, minima, found[rows])
        incomplete = (found[rows] == _EMPTY).any(axis=1)
        if round == ROUNDS - 1 or not incomplete.any():
            break
        flat = mix(flat[np.repeat(incomplete, lengths)] + _STEP)
        rows, lengths = rows[incomplete], lengths[incomplete]
    return _densify(found)


def pairs(
    rows: NDArray[np.uint32], ids: NDArray[np.uint64], keys: NDArray[np.uint64], others: NDArray[np.uint64]
) -> NDArray[np.uint64]:
    """Candidates among rows with equal keys: uint64 [n], `smaller row << 32 | larger row`, each pair once.

    A run of m rows with one key gives at most m * (1 + NEIGHBOURS) pairs: each row with the one of the smallest id,
    and with the next rows of the run in order of another band's key, which brings the most alike together, then of id.
    The pairs are thus decided by the content alone.
    """
    order = np.argsort(keys, kind="stable")
    again = keys[order[1:]] == keys[order[:-1]]
    order = order[np.append(again, False) | np.append(False, again)] if len(order) else order
    order = order[np.lexsort((ids[order], others[order], keys[order]))]
    ids, keys, numbers = ids[order], keys[order], rows[order].astype(np.uint64)
    if not len(order):
        return np.empty(0, np.uint64)
    starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
    sizes = np.diff(np.append(starts, len(keys)))
    smallest = np.lexsort((ids, keys))[starts]
    centre = np.repeat(numbers[smallest], sizes)
    found = [_pack(centre, numbers)[centre != numbers]]
    for step in range(1, min(NEIGHBOURS + 1, len(numbers))):
        near = keys[step:] == keys[:-step]
        found.append(_pack(numbers[:-step][near], numbers[step:][near]))
    packed = np.concatenate(found)
    found.clear()  # the pairs of a corpus of boilerplate are the most memory that anything takes here
    return distinct(packed)


def _pack(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return np.minimum(one, other) << np.uint64(32) | np.maximum(one, other)


def _densify(found: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Fill each empty slot from a filled one, which the number of the slot and of the attempt decide."""
    text, slot = np.nonzero(found == _EMPTY)
    filled = found.copy()
    attempt = 0
    while len(text):
        attempt += 1
        source = mix((slot + attempt * SLOTS).astype(np.uint64)) % np.uint64(SLOTS)
        filled[text, slot] = found[text, source]
        left = filled[text, slot] == _EMPTY
        text, slot = text[left], slot[left]
    return filled


def _keys(signature: NDArray[np.uint32], bands: int, slots: int) -> NDArray[np.uint64]:
    """One key a band: its number and its slots, hashed together."""
    keys = np.broadcast_to(np.arange(bands, dtype=np.uint64), (len(signature), bands))
    cut = signature[:, : bands * slots].reshape(len(signature), bands, slots)
    for slot in range(slots):
        keys = mix(keys * _STEP + cut[:, :, slot])
    return keys
