"""How well queries find their documents: each query against every different document of a split."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BEST = 10
AT_ONCE = 1 << 22
"""Scores that are held at once."""
ROUNDING = 1e-6
"""Scores of vectors in fp32 that differ by less are equal."""
Floats = NDArray[np.floating]


def rank(queries: Floats, documents: Floats, numbers: NDArray[np.int64], temperature: float) -> NDArray[np.float64]:
    """float64 [pairs, 5]: loss, recall at 1 and at 10, reciprocal rank at 10 and normalised gain at 10 of each query.

    `queries` and `documents` are unit vectors [pairs, size]; `numbers` [pairs, 2] those of each pair's group and
    document. Pairs with the same document have one candidate together. The documents of a query's group are relevant,
    all alike; of others with an equal score they come last.

    recall at k    the share of the relevant documents that are among the k best
    reciprocal     1 / the place of the first relevant one, 0 when none is among the 10 best
    gain           sum of 1 / log2(1 + place) over the relevant among the 10 best, over the most it could be: Järvelin
                   and Kekäläinen, Cumulated Gain-Based Evaluation of IR Techniques (2002), with gains of 0 and 1
    loss           -log of the own document's share in the softmax of scores / temperature, over the own document and
                   all that are not relevant
    """
    _, firsts, own = np.unique(numbers[:, 1], return_index=True, return_inverse=True)
    candidates = documents[firsts].astype(np.float32)
    of_group = _by_group(numbers[:, 0], own)
    step, found = max(1, AT_ONCE // len(candidates)), []
    for start in range(0, len(queries), step):
        part = slice(start, start + step)
        scores = queries[part].astype(np.float32) @ candidates.T
        relevant = np.zeros(scores.shape, bool)
        for row, group in enumerate(numbers[part, 0].tolist()):
            relevant[row, of_group[group]] = True
        found.append(np.column_stack([_losses(scores / temperature, relevant, own[part]), _measures(scores, relevant)]))
    return np.concatenate(found)


def _by_group(groups: NDArray[np.int64], documents: NDArray[np.intp]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for group, document in zip(groups.tolist(), documents.tolist(), strict=True):
        found.setdefault(group, []).append(document)
    return found


def _losses(scores: Floats, relevant: NDArray[np.bool_], own: NDArray[np.intp]) -> Floats:
    rows = np.arange(len(own))
    mine = scores[rows, own].astype(np.float64)
    others = np.where(relevant, -np.inf, scores)
    others[rows, own] = mine
    most = others.max(axis=1, keepdims=True)
    return most[:, 0] + np.log(np.exp(others - most).sum(axis=1, dtype=np.float64)) - mine


def _measures(scores: Floats, relevant: NDArray[np.bool_]) -> NDArray[np.float64]:
    """[queries, 4]."""
    judged = scores - np.where(relevant, np.float32(ROUNDING), 0)
    most = min(BEST, judged.shape[1])
    best = np.argpartition(-judged, most - 1, axis=1)[:, :most]
    best = np.take_along_axis(best, np.argsort(-np.take_along_axis(judged, best, axis=1), axis=1), axis=1)
    hits, all = np.take_along_axis(relevant, best, axis=1), relevant.sum(axis=1)
    gains = 1 / np.log2(np.arange(most) + 2)
    ideal = np.cumsum(gains)[np.minimum(all, most) - 1]
    first = np.where(hits.any(axis=1), 1 / (hits.argmax(axis=1) + 1), 0)
    return np.column_stack([hits[:, 0] / all, hits.sum(axis=1) / all, first, hits @ gains / ideal])
