"""Parts of a split: every sample is where it belongs, and what is weak comes first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gb_ray.measure.scores import Scores
from gb_ray.measure.slices import compared, slices
from gb_ray.tasks.section import SequenceClassificationSection, TokenClassificationSection
from gb_ray.tasks.task import make

LABELS = ["a", "b"]
TASK = make(SequenceClassificationSection(type="sequence-classification"), "unused", 32)
MANY = make(SequenceClassificationSection(type="sequence-classification", multi_label=True), "unused", 32)
TAGS = make(TokenClassificationSection(type="token-classification"), "unused", 32)


def scores(right: np.ndarray, languages: list[str | None], tokens: np.ndarray, seed: int = 0) -> Scores:
    truth = np.random.default_rng(seed).integers(0, 2, len(right))
    logits = list(np.eye(2, dtype=np.float32)[np.where(right, truth, 1 - truth)] * 3)
    about = {"id": [f"{i:05d}" for i in range(len(right))], "source": ["one.csv"] * len(right)}
    table = pa.table({**about, "language": pa.array(languages, pa.string()), "tokens": tokens})
    return Scores(TASK, LABELS, table, TASK.statistics(logits, list(truth), LABELS), list(truth), logits)


@settings(max_examples=30)
@given(st.integers(1, 80), st.integers(0, 99))
def test_the_slices_of_a_division_hold_every_sample_once(samples: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    languages = random.choice(["en", "sw", None], samples).tolist()
    tokens = random.integers(1, 12, samples)
    found = slices(scores(random.random(samples) < 0.7, languages, tokens))
    for by in ("language", "length", "label"):
        mine = [one for one in found if one["by"] == by]
        assert not mine or (sum(one["samples"] for one in mine) == samples and len(mine) > 1)
    assert not [one for one in found if one["by"] == "source"]  # there is one alone
    assert len([one for one in found if one["by"] == "length"]) <= 4
    for one in found:
        if one["by"] == "language":
            assert one["samples"] == sum((name or "not identified") == one["name"] for name in languages)
        if one["by"] == "length":
            low, high = (int(word) for word in one["name"].split() if word.isdigit())
            assert one["samples"] == sum(low <= length <= high for length in tokens)


def test_the_weak_come_first_and_the_small_last() -> None:
    """Swahili is hard; five Hindi texts are all wrong, which may be luck."""
    languages = ["en"] * 300 + ["sw"] * 100 + ["hi"] * 5
    right = np.concatenate([np.arange(300) % 10 > 0, np.arange(100) % 2 > 0, np.zeros(5, bool)])
    found = slices(scores(right, languages, np.full(405, 9)))
    assert (found[0]["by"], found[0]["name"], found[0]["samples"]) == ("language", "sw", 100)
    assert found[0]["metrics"]["accuracy"] == 0.5
    low, high = found[0]["intervals"]["accuracy"]
    assert 0.38 < low < 0.43 and 0.57 < high < 0.62
    assert found[0]["behind"] > 0.15
    assert found[-1]["name"] == "hi" and found[-1]["behind"] is None
    assert next(one for one in found if one["name"] == "en")["behind"] < 0
    assert all("roc_auc" not in one["metrics"] and "macro_f1" not in one["metrics"] for one in found)


def test_a_sentence_counts_under_every_kind_of_entity_in_it() -> None:
    labels = ["O", "B-LOC", "B-PER", "I-LOC", "I-PER"]
    targets = [np.array(tags) for tags in ([0, 1, 3], [2, 0, 1], [0, -100, 0])]
    logits = [np.eye(5, dtype=np.float32)[np.maximum(one, 0)] for one in targets]
    about = pa.table({"id": list("abc"), "source": ["s"] * 3, "language": ["en"] * 3, "tokens": [3, 3, 3]})
    found = slices(Scores(TAGS, labels, about, TAGS.statistics(logits, targets, labels), targets, logits))
    assert {one["name"]: one["samples"] for one in found} == {"LOC": 2, "PER": 1}
    assert all(one["metrics"]["entity_f1"] == 1 for one in found)


def test_a_part_with_nothing_to_find_is_not_called_the_weakest() -> None:
    """Every second sentence of news has an entity, half of which are found; letters have none, and none is found."""
    labels, count = ["O", "B-LOC", "I-LOC"], 40
    targets = [np.array([0, i % 2]) for i in range(count)] + [np.array([0, 0])] * count
    answers = [np.array([0, int(i % 4 == 1)]) for i in range(count)] + [np.array([0, 0])] * count
    logits = [np.eye(3, dtype=np.float32)[one] for one in answers]
    about = {"id": [f"{i:02d}" for i in range(2 * count)], "source": ["news.csv"] * count + ["letters.csv"] * count}
    table = pa.table({**about, "language": ["en"] * 2 * count, "tokens": [2] * 2 * count})
    found = slices(Scores(TAGS, labels, table, TAGS.statistics(logits, targets, labels), targets, logits))
    letters = next(one for one in found if one["name"] == "letters.csv")
    assert letters["behind"] is None and letters["metrics"] == {"accuracy": 1.0}
    news = next(one for one in found if one["name"] == "news.csv")
    assert news["behind"] is not None and news["metrics"]["entity_f1"] == pytest.approx(2 / 3, abs=1e-6)


def test_texts_that_are_rightly_without_a_label_are_not_called_the_weakest() -> None:
    count = 30
    targets = [np.array([i % 2]) for i in range(count)] + [np.array([], int)] * count
    logits = [np.array([3.0, -3.0])] * count + [np.array([-3.0, -3.0])] * count
    about = {"id": [f"{i:02d}" for i in range(2 * count)], "source": ["s"] * 2 * count}
    table = pa.table({**about, "language": ["en"] * count + ["sw"] * count, "tokens": [2] * 2 * count})
    found = slices(Scores(MANY, LABELS, table, MANY.statistics(logits, targets, LABELS), targets, logits))
    behind = {one["name"]: one["behind"] for one in found}
    assert behind["sw"] is None and behind["en"] is not None
    assert "micro_f1" not in next(one for one in found if one["name"] == "sw")["metrics"]


def test_two_models_are_compared_where_there_are_samples_enough() -> None:
    languages = ["en"] * 100 + ["sw"] * 100 + ["hi"] * 5
    good = np.concatenate([np.arange(100) % 10 > 0, np.arange(100) % 10 > 0, np.ones(5, bool)])
    lost = good & ~((np.arange(205) >= 100) & (np.arange(205) < 130))
    tokens = np.full(205, 9)
    found = compared(scores(good, languages, tokens), scores(lost, languages, tokens))
    mine = [one for one in found if one["by"] == "language"]
    assert [(one["name"], one["better"]) for one in mine] == [("sw", "a"), ("en", None)]


def test_scores_come_back_from_their_file(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    one = scores(random.random(30) < 0.7, ["en"] * 30, random.integers(1, 9, 30))
    one.save(tmp_path / "scored" / "after-test.parquet")
    again = Scores.open(tmp_path / "scored" / "after-test.parquet", TASK)
    assert again.metrics == one.metrics and again.labels == LABELS
    assert (again.statistics == one.statistics).all()
    assert again.about.equals(one.about)
    assert again.logits is not None and one.logits is not None
    assert (np.stack(again.logits) == np.stack(one.logits)).all()
    assert again.targets == one.targets


def test_the_logits_of_words_come_back_in_their_shape(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    targets = [random.integers(0, 3, n).astype(np.int32) for n in (4, 1, 7)]
    logits = [random.normal(size=(len(one), 3)).astype(np.float32) for one in targets]
    about = pa.table({"id": list("abc"), "source": ["s"] * 3, "language": ["en"] * 3, "tokens": [4, 1, 7]})
    labels = ["O", "B-A", "I-A"]
    Scores(TAGS, labels, about, TAGS.statistics(logits, targets, labels), targets, logits).save(tmp_path / "x.parquet")
    again = Scores.open(tmp_path / "x.parquet", TAGS)
    assert again.logits is not None
    for one, other in zip(logits, again.logits, strict=True):
        assert one.dtype == other.dtype and (one == other).all()
