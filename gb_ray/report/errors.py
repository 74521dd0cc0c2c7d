"""The samples a model was most wrong about, with their texts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gb_ray.corpus.catalogue import rows
from gb_ray.corpus.catalogue.figures import visible
from gb_ray.corpus.corpus import Corpus
from gb_ray.measure.scores import Scores
from gb_ray.tasks.base import IGNORED
from gb_ray.tasks.embedding import Embedding
from gb_ray.tasks.multi_label import MultiLabel
from gb_ray.tasks.regression import Regression
from gb_ray.tasks.sequence_classification import SequenceClassification
from gb_ray.tasks.token_classification import TokenClassification

SHOWN, LONGEST = 12, 400
Row = dict[str, Any]


def worst(scores: Scores, corpus: Corpus | None, split: str) -> list[Row]:
    """The samples of the highest loss an answer, with `id`, `loss`, `truth`, `answer` and `text`.

    `text` is empty when the corpus is not here or keeps no text.
    """
    mean = losses(scores)
    places = [int(place) for place in np.argsort(-mean, kind="stable")[:SHOWN] if np.isfinite(mean[place])]
    ids = scores.about["id"].to_pylist()
    kept = _kept(corpus, split, [ids[place] for place in places]) if corpus else {}
    found = []
    for place in places:
        fields = kept.get(ids[place], {})
        truth, answer = _answers(scores, place, fields)
        about = {"id": ids[place], "loss": float(mean[place]), "truth": truth, "answer": answer}
        found.append(about | {"text": _text(fields)})
    return found


def losses(scores: Scores) -> NDArray[np.float64]:
    """Of each sample the loss an answer, -inf where nothing is asked."""
    answers, sums = scores.statistics[:, 0], scores.statistics[:, 1]
    return np.where(answers > 0, sums / np.maximum(answers, 1), -np.inf)


def texts(corpus: Corpus | None, split: str, ids: list[str]) -> dict[str, str]:
    """The texts of samples by id; none where the corpus is not here."""
    return {id: _text(fields) for id, fields in _kept(corpus, split, ids).items()} if corpus else {}


def confusion(scores: Scores) -> list[list[int]] | None:
    """How often each label (rows) was answered as each (columns); None for tasks without one label a text."""
    if not isinstance(scores.task, SequenceClassification) or scores.logits is None:
        return None
    table = np.zeros((len(scores.labels), len(scores.labels)), int)
    np.add.at(table, (np.asarray(scores.targets), np.stack(scores.logits).argmax(axis=1)), 1)
    return [[int(count) for count in row] for row in table]


def _kept(corpus: Corpus, split: str, ids: list[str]) -> dict[str, Row]:
    found: dict[str, Row] = {}
    for shard in corpus.manifest.splits[split].shards:
        table = rows.read(corpus, shard)
        for row in table.filter(pc.is_in(table["id"], pa.array(ids, pa.string()))).to_pylist():
            found[row["id"]] = rows.fields(row)
    return found


def _answers(scores: Scores, place: int, fields: Row) -> tuple[str, str]:
    task, target, labels = scores.task, scores.targets[place], scores.labels
    logits = None if scores.logits is None else scores.logits[place]
    if logits is None:
        return "", ""
    if isinstance(task, SequenceClassification):
        return labels[target], labels[int(logits.argmax())]
    if isinstance(task, MultiLabel):
        return _listed([labels[int(i)] for i in target]), _listed([labels[i] for i in np.flatnonzero(logits > 0)])
    if isinstance(task, Embedding):
        return _cut(fields.get("document", "")), ""
    if isinstance(task, Regression):
        own = task.scale.own(logits)
        asked = target[: len(own)]  # last values may follow
        return _listed([f"{one:.4g}" for one in asked]), _listed([f"{one:.4g}" for one in own])
    if isinstance(task, TokenClassification):
        asked = np.asarray(target) != IGNORED
        words = fields.get("tokens") or [f"word {i + 1}" for i in range(int(asked.sum()))]
        told = logits[: len(asked)][asked].argmax(axis=-1)
        return _entities(words, [labels[i] for i in np.asarray(target)[asked]]), _entities(
            words, [labels[i] for i in told]
        )
    return "", ""


def _entities(words: list[str], tags: list[str]) -> str:
    from seqeval.metrics.sequence_labeling import get_entities

    return _listed([f"{' '.join(words[start : end + 1])} ({kind})" for kind, start, end in get_entities(tags)])


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "none"


def _text(fields: Row) -> str:
    for name, value in fields.items():
        if name in ("tokens", "text", "prompt", "query", "messages"):
            plain = value if isinstance(value, str) else " ".join(map(_plain, value))
            rest = fields.get("response")
            return _cut(f"{plain} → {rest}" if rest else plain)
    return ""


def _plain(value: Any) -> str:
    return f"{value['role']}: {value['content']}" if isinstance(value, dict) else str(value)


def _cut(text: str) -> str:
    line = visible(" ".join(text.split()))
    return line if len(line) <= LONGEST else line[: LONGEST - 1].rstrip() + "…"
