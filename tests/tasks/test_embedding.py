"""Pairs of texts: what is a pair, which documents a query is told from, and how well it finds its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gb_ray.corpus.encoder import Reject
from gb_ray.corpus.reading.reader import Sample
from gb_ray.measure.scores import Scores
from gb_ray.tasks import ranking
from gb_ray.tasks.embedding import Embedding
from gb_ray.tasks.section import EmbeddingSection
from gb_ray.tasks.tokenizer import tokenizer

NAMES = {"recall_at_1", "recall_at_10", "mrr_at_10", "ndcg_at_10", "loss"}


def make(backbone: Path | str = "unused", **keys: Any) -> Embedding:
    return Embedding(EmbeddingSection(type="embedding", **keys), str(backbone), 8)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"query": "", "document": "b"}, "query is empty"),
        ({"query": "a", "document": " \n"}, "document is empty"),
        ({"query": "a", "document": None}, "document is null"),
        ({"query": 3, "document": "b"}, "query is int, expected text"),
    ],
)
def test_a_pair_that_lacks_a_text_is_refused(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(Reject) as caught:
        make().clean(row)
    assert str(caught.value) == reason


def test_a_group_that_is_missing_is_refused() -> None:
    with pytest.raises(Reject, match="topic is null"):
        make(group="topic").clean({"query": "a", "document": "b", "topic": None})


def test_a_sample_has_both_texts_each_cut_by_itself(backbone: Path) -> None:
    task = make(backbone)
    rows = [{"query": "solar", "document": "wind " * 20}, {"query": "river " * 20, "document": "well"}]
    samples = samples_of(task, rows)
    expected = tokenizer(str(backbone))([row[key] for row in rows for key in ("query", "document")])["input_ids"]
    found = task.rows(samples)
    assert [row.input_ids.tolist() for row in found] == [ids if len(ids) < 8 else [*ids[:7], 3] for ids in expected]
    assert [row.label.tolist()[:2] for row in found] == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert [len(sample.input_ids) for sample in samples] == [11, 11]


def samples_of(task: Embedding, rows: list[dict[str, Any]]) -> list[Sample]:
    made = task.encode([task.clean(row) for row in rows], [])
    ids = [np.array(one, np.int32) for one in made["input_ids"].to_pylist()]
    labels = [np.array(label) for label in made["label"]]
    return [Sample(str(i), one, label) for i, (one, label) in enumerate(zip(ids, labels, strict=True))]


def test_rows_of_one_query_are_a_group_unless_a_column_says_otherwise(backbone: Path) -> None:
    rows = [{"query": "wind", "document": d, "g": d} for d in ("pump", "pipe", "pump ")]
    alone, grouped = samples_of(make(backbone), rows), samples_of(make(backbone, group="g"), rows)
    assert len({sample.label[1] for sample in alone}) == 1
    assert grouped[0].label[1] == grouped[2].label[1] != grouped[1].label[1]
    # White space makes no other document.
    assert alone[0].label[2] == alone[2].label[2] != alone[1].label[2]


@given(st.integers(1, 9), st.integers(0, 99), st.sampled_from([0.02, 0.05, 1.0]))
def test_the_loss_is_that_of_the_definition(pairs: int, seed: int, temperature: float) -> None:
    random = np.random.default_rng(seed)
    vectors, numbers = unit(random, (pairs, 2, 5)), random.integers(0, 4, (pairs, 2))
    found = make(temperature=temperature).compare(torch.from_numpy(vectors), torch.from_numpy(numbers))
    for i in range(pairs):
        told_from = [i] + [j for j in range(pairs) if (numbers[j] != numbers[i]).all()]
        powers = [np.exp(vectors[i, 0] @ vectors[j, 1] / temperature) for j in told_from]
        assert float(found[i]) == pytest.approx(-np.log(powers[0] / sum(powers)), abs=1e-9)


@given(st.integers(1, 40), st.integers(0, 999), st.integers(1, 4), st.integers(1, 60))
def test_metrics_are_those_of_their_definitions(pairs: int, seed: int, groups: int, documents: int) -> None:
    """Counted one query at a time, with every document of the split ranked."""
    random = np.random.default_rng(seed)
    numbers = np.column_stack([random.integers(0, 8 * groups, pairs), random.integers(0, documents, pairs)])
    of_document = unit(random, (documents, 6)).astype(np.float32)
    vectors = np.stack([unit(random, (pairs, 6)).astype(np.float32), of_document[numbers[:, 1]]], axis=1)
    task = make()
    found = task.statistics(list(vectors), list(numbers), [])
    candidates = np.unique(numbers[:, 1])
    for i, (group, own) in enumerate(numbers):
        relevant = set(numbers[numbers[:, 0] == group, 1])
        scores = {int(d): float(vectors[i, 0] @ of_document[d]) for d in candidates}
        ranked = sorted(scores, key=lambda d: -scores[d])
        hits = [d in relevant for d in ranked[:10]]
        ideal = sum(1 / np.log2(place + 2) for place in range(min(10, len(relevant))))
        told = [scores[d] / 0.05 for d in candidates if d == own or d not in relevant]
        assert found[i] == pytest.approx(
            [
                1,
                np.log(np.exp(told).sum()) - scores[own] / 0.05,
                hits[0] / len(relevant),
                sum(hits) / len(relevant),
                next((1 / (place + 1) for place, hit in enumerate(hits) if hit), 0),
                sum(hit / np.log2(place + 2) for place, hit in enumerate(hits)) / ideal,
            ],
            abs=1e-4,
        )
    assert task.metrics(list(vectors), list(numbers), []).keys() == NAMES


def unit(random: np.random.Generator, shape: tuple[int, ...]) -> Any:
    found = random.normal(size=shape)
    return found / np.linalg.norm(found, axis=-1, keepdims=True)


def test_a_model_that_tells_nothing_apart_finds_nothing() -> None:
    """All scores are equal: what is wrong comes first."""
    same = np.full((20, 3), 3**-0.5, np.float32)
    numbers = np.column_stack([np.arange(20), np.arange(20)])
    found = ranking.rank(same, same, numbers, 0.05)
    assert found[:, 1:].max() == 0
    assert found[:, 0] == pytest.approx(np.log(20), abs=1e-5)


def test_what_is_ranked_in_parts_is_ranked_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    queries, documents = unit(random, (30, 4)), unit(random, (30, 4))
    numbers = random.integers(0, 20, (30, 2))
    whole = ranking.rank(queries, documents, numbers, 0.05)
    monkeypatch.setattr(ranking, "AT_ONCE", 70)
    np.testing.assert_allclose(ranking.rank(queries, documents, numbers, 0.05), whole, rtol=1e-6)


def test_an_answer_is_the_vector() -> None:
    assert make().answer("text", [], np.array([0.6, -0.8], np.float32), []) == {"embedding": pytest.approx([0.6, -0.8])}


def test_what_a_run_keeps_of_its_scores_comes_back(tmp_path: Path) -> None:
    random, task = np.random.default_rng(0), make()
    logits, targets = list(unit(random, (5, 2, 4)).astype(np.float32)), list(random.integers(0, 2**62, (5, 2)))
    about = pa.table({name: list("abcde") for name in ("id", "source", "language")} | {"tokens": [9] * 5})
    made = Scores(task, [], about, task.statistics(logits, targets, []), targets, logits)
    made.save(tmp_path / "scored" / "one.parquet")
    found = Scores.open(tmp_path / "scored" / "one.parquet", task)
    assert found.metrics == made.metrics and found.metrics.keys() == NAMES
    again = task.statistics(found.logits or [], found.targets, [])
    np.testing.assert_array_equal(again, made.statistics)
