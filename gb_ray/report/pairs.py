"""Which labels a model takes for which, the most frequent first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np

from gb_ray.corpus.corpus import Corpus
from gb_ray.measure.scores import Scores
from gb_ray.report import errors
from gb_ray.tasks.base import IGNORED
from gb_ray.tasks.multi_label import MultiLabel
from gb_ray.tasks.sequence_classification import SequenceClassification
from gb_ray.tasks.token_classification import TokenClassification

SHOWN = 20
NOTHING = "nothing"
"""In place of what was not answered though it is true, or not true though it was answered."""
Entity = tuple[str, int, int]
"""Its kind, its first and its last word."""


def pairs(scores: Scores, corpus: Corpus | None, split: str) -> list[dict[str, Any]] | None:
    """`truth`, `answer`, `count` and the `text` of an example, the one of the highest loss; at most SHOWN.

    Of several labels a text each that was missed stands with each that was invented for it. An entity is taken for the
    one that has most words of it; with the right kind its words are not the same. `text` is empty when the corpus is
    not here or keeps no text. None for tasks without labels, and where the outputs were too large to be kept.
    """
    if scores.logits is None or not isinstance(scores.task, SequenceClassification | MultiLabel | TokenClassification):
        return None
    found: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place in range(len(scores.targets)):
        for pair in _wrong(scores, place):
            found[pair].append(place)
    most = sorted(found.items(), key=lambda entry: -len(entry[1]))[:SHOWN]
    losses = errors.losses(scores)
    ids = scores.about["id"].to_pylist()
    examples = [ids[max(places, key=lambda place: losses[place])] for _, places in most]
    texts = errors.texts(corpus, split, examples)
    return [
        {"truth": truth, "answer": answer, "count": len(places), "text": texts.get(example, "")}
        for ((truth, answer), places), example in zip(most, examples, strict=True)
    ]


def _wrong(scores: Scores, place: int) -> Iterator[tuple[str, str]]:
    assert scores.logits is not None
    target, logits, labels = scores.targets[place], scores.logits[place], scores.labels
    if isinstance(scores.task, SequenceClassification):
        answer = int(logits.argmax())
        if answer != target:
            yield labels[target], labels[answer]
    elif isinstance(scores.task, MultiLabel):
        true, told = {int(one) for one in target}, {int(one) for one in np.flatnonzero(logits > 0)}
        missed = [labels[one] for one in sorted(true - told)]
        invented = [labels[one] for one in sorted(told - true)]
        if missed or invented:
            yield from ((one, other) for one in missed or [NOTHING] for other in invented or [NOTHING])
    else:
        asked = np.asarray(target) != IGNORED
        told = logits[: len(asked)][asked].argmax(axis=-1)
        yield from _entities([labels[i] for i in np.asarray(target)[asked]], [labels[i] for i in told])


def _entities(tags: list[str], answered: list[str]) -> Iterator[tuple[str, str]]:
    from seqeval.metrics.sequence_labeling import get_entities

    true, told = get_entities(tags), get_entities(answered)
    for one in (entity for entity in true if entity not in told):
        nearest = max(told, key=lambda other: _shared(one, other), default=None)
        if nearest is None or not _shared(one, nearest):
            yield one[0], NOTHING
        else:
            yield one[0], nearest[0] if nearest[0] != one[0] else f"{one[0]}, other words"
    yield from ((NOTHING, one[0]) for one in told if not any(_shared(one, other) for other in true))


def _shared(one: Entity, other: Entity) -> int:
    """Words that are in both."""
    return max(0, min(one[2], other[2]) - max(one[1], other[1]) + 1)
