"""The worst errors, of every task, with the texts of the corpus."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from corpus.synthetic import LABELS, make_corpus

from gb_ray.corpus.reading.reader import Reader
from gb_ray.measure import scores as module
from gb_ray.measure.scores import Scores
from gb_ray.report import errors
from gb_ray.report.pairs import pairs
from gb_ray.tasks.section import (
    RegressionSection,
    SequenceClassificationSection,
    TokenClassificationSection,
)
from gb_ray.tasks.task import Task, make

TOPICS = make(SequenceClassificationSection(type="sequence-classification"), "unused", 32)
MANY = make(SequenceClassificationSection(type="sequence-classification", multi_label=True), "unused", 32)
TAGS = make(TokenClassificationSection(type="token-classification"), "unused", 32)
NUMBERS = make(RegressionSection(type="regression", targets=["x"]), "u", 32, state={"mean": [10.0], "sd": [2.0]})


def scores(task: Task, labels: list[str], logits: list[Any], targets: list[Any]) -> Scores:
    about = pa.table({"id": [f"{i:032x}" for i in range(len(targets))]})
    tables = [np.array(one, np.float32) for one in logits]
    return Scores(task, labels, about, task.statistics(tables, targets, labels), targets, tables)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (scores(TOPICS, ["a", "b"], [[3, 0], [5, 0]], [0, 1]), ("b", "a")),
        (scores(MANY, ["a", "b"], [[3, -3], [5, 5]], [np.array([0]), np.array([], int)]), ("none", "a, b")),
        (scores(NUMBERS, [], [[0.0], [2.0]], [np.array([10.0]), np.array([4.0])]), ("4", "14")),
        (
            scores(TAGS, ["O", "B-LOC", "I-LOC"], [[[9, 0, 0]] * 2, np.eye(3)[[0, 1, 2]] * 9], [[0, 0], [1, -100, 0]]),
            ("word 1 (LOC)", "word 2 (LOC)"),
        ),
    ],
    ids=["one label", "labels", "numbers", "tags"],
)
def test_truth_and_answer_are_told_in_the_words_of_the_task(found: Scores, expected: tuple[str, str]) -> None:
    first = errors.worst(found, None, "test")[0]
    assert (first["truth"], first["answer"]) == expected
    assert first["id"] == f"{1:032x}" and first["text"] == ""


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (
            scores(TOPICS, ["a", "b", "c"], [[3, 0, 0], [3, 0, 0], [5, 0, 0], [0, 0, 1]], [1, 2, 1, 2]),
            [("b", "a", 2), ("c", "a", 1)],
        ),
        (
            scores(
                MANY,
                ["a", "b", "c"],
                [[3, -3, -3], [-3, 3, 3], [-3, -3, -3], [9, -9, -9]],
                [np.array([0, 1]), np.array([0, 1]), np.array([1]), np.array([], int)],
            ),
            [("b", "nothing", 2), ("a", "c", 1), ("nothing", "a", 1)],
        ),
        (
            scores(
                TAGS,
                ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"],
                [
                    np.eye(5)[[1, 2, 0, 3]] * 9,  # LOC LOC O PER
                    np.eye(5)[[1, 0, 0, 0]] * 9,  # LOC O O O
                    np.eye(5)[[1, 2, 0, 0]] * 9,
                ],
                [[3, 4, 0, 3], [1, 2, -100, 3], [0, 0, 0, 3]],
            ),
            [("PER", "nothing", 2), ("PER", "LOC", 1), ("LOC", "LOC, other words", 1), ("nothing", "LOC", 1)],
        ),
    ],
    ids=["one label", "labels", "entities"],
)
def test_what_is_taken_for_what_is_counted_with_what_was_missed_and_invented(
    found: Scores, expected: list[tuple[str, str, int]]
) -> None:
    told = pairs(found, None, "test")
    assert told is not None and told[0]["text"] == ""
    counted = [(one["truth"], one["answer"], one["count"]) for one in told]
    assert counted[0] == expected[0] and sorted(counted) == sorted(expected)


def test_numbers_are_confused_with_nothing() -> None:
    assert pairs(scores(NUMBERS, [], [[0.0]], [np.array([10.0])]), None, "test") is None


def test_texts_are_those_of_the_samples(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "made", {"test": [(1.0, 70)]}, lanes=3, shard_rows=8)
    with Reader(corpus, "test", 0) as reader:
        samples = sorted(reader.once(), key=lambda sample: sample.id)
    about = module._about(corpus, "test")
    assert about["id"].to_pylist() == [sample.id for sample in samples]
    assert about["tokens"].to_pylist() == [len(sample.input_ids) for sample in samples]
    assert set(about["source"].to_pylist()) == {"source-0.jsonl"}
    targets = [int(sample.label) for sample in samples]
    logits = list(np.random.default_rng(0).normal(size=(70, 3)).astype(np.float32))
    made = Scores(TOPICS, LABELS, about, TOPICS.statistics(logits, targets, LABELS), targets, logits)
    found = errors.worst(made, corpus, "test")
    kept = {row["id"]: row["text"] for row in _rows(corpus)}
    assert len(found) == errors.SHOWN
    (first, *_) = pairs(made, corpus, "test") or []
    its = [
        i for i in range(70) if LABELS[targets[i]] == first["truth"] and LABELS[logits[i].argmax()] == first["answer"]
    ]
    assert len(its) == first["count"]
    worst = max(its, key=lambda place: errors.losses(made)[place])
    assert first["text"] == errors._cut(kept[samples[worst].id]) != ""
    for one in found:
        assert one["text"] == errors._cut(kept[one["id"]]) != ""
    right = [np.eye(3, dtype=np.float32)[target] for target in targets]
    assert pairs(replace(made, logits=right), corpus, "test") == []


def _rows(corpus: Any) -> list[dict[str, Any]]:
    from gb_ray.corpus.catalogue import rows

    return [row for shard in corpus.manifest.splits["test"].shards for row in rows.read(corpus, shard).to_pylist()]
