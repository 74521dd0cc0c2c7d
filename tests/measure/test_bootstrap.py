"""Intervals cover what they promise, whatever the metric."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_ray.measure import bootstrap
from gb_ray.tasks.causal_lm import CausalLm
from gb_ray.tasks.section import SequenceClassificationSection, TokenClassificationSection
from gb_ray.tasks.sequence_classification import SequenceClassification
from gb_ray.tasks.token_classification import TokenClassification

LABELS = [str(i) for i in range(5)]
TOPICS = SequenceClassification(SequenceClassificationSection(type="sequence-classification"), "unused", 32)
ENTITIES = TokenClassification(TokenClassificationSection(type="token-classification"), "unused", 32)
SETS, SAMPLES = 300, 150
Draw = Callable[[np.random.Generator, int], np.ndarray]


def topics(random: np.random.Generator, samples: int) -> np.ndarray:
    """Statistics of a classifier that is right in about 7 of 10, on labels that are not equally frequent."""
    truth = random.choice(5, samples, p=[0.4, 0.2, 0.2, 0.1, 0.1])
    logits = random.normal(size=(samples, 5)).astype(np.float32)
    logits[np.arange(samples), truth] += 1.8
    return TOPICS.statistics(list(logits), list(truth), LABELS)


def entities(random: np.random.Generator, samples: int) -> np.ndarray:
    """Statistics of a tagger: sentences differ in length, in entities and in how hard they are."""
    words, there = random.integers(5, 30, samples), random.poisson(1.2, samples)
    right = random.binomial(there, random.beta(3, 2, samples))
    told = right + random.poisson(0.3, samples)
    return np.column_stack([words, 0.3 * words, random.binomial(words, 0.9), right, told, there]).astype(float)


def texts(random: np.random.Generator, samples: int) -> np.ndarray:
    """Statistics of a language model: texts differ in length and in how likely they are."""
    tokens = random.integers(5, 200, samples)
    entropies, bytes_each = random.gamma(4, 0.8, samples), random.normal(4.2, 0.3, samples)
    return np.column_stack([tokens, tokens * entropies, tokens * bytes_each])


CASES: list[tuple[tuple[str, ...], Any, Draw]] = [
    (("accuracy", "macro_f1", "loss", "roc_auc"), TOPICS, topics),
    (("entity_f1", "entity_precision", "accuracy"), ENTITIES, entities),
    (("loss", "perplexity", "bits_per_byte"), CausalLm, texts),
]


def summary(task: Any) -> bootstrap.Summary:
    if task is CausalLm:
        return lambda sums: CausalLm.from_sums(None, sums, [])  # it needs no tokenizer for this
    return lambda sums: task.from_sums(sums, LABELS)


@pytest.mark.parametrize(("metrics", "task", "draw"), CASES, ids=["topics", "entities", "texts"])
def test_95_of_100_intervals_have_the_true_value_in_them(metrics: tuple[str, ...], task: Any, draw: Draw) -> None:
    """300 test sets of one population, whose true values are those of a hundred thousand samples."""
    of = summary(task)
    truth = of(draw(np.random.default_rng(0), 100_000).sum(axis=0))
    covered = dict.fromkeys(metrics, 0)
    for number in range(SETS):
        found = bootstrap.intervals(draw(np.random.default_rng(1 + number), SAMPLES), of)
        for metric in metrics:
            low, high = found[metric]
            covered[metric] += int(low <= truth[metric] <= high)
    assert all(0.92 <= count / SETS <= 0.98 for count in covered.values()), covered


@given(st.integers(2, 60), st.integers(1, 4), st.integers(0, 99))
def test_a_resample_has_as_many_samples_and_each_draw_is_one_of_them(samples: int, width: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    statistics = np.column_stack([np.ones(samples), random.integers(0, 9, (samples, width))]).astype(float)
    found = bootstrap.sums(statistics, resamples=50, seed=seed)
    assert found.shape == (50, width + 1)
    assert (found[:, 0] == samples).all()
    assert (found >= samples * statistics.min(axis=0)).all() and (found <= samples * statistics.max(axis=0)).all()
    assert (found == bootstrap.sums(statistics, resamples=50, seed=seed)).all()


def test_resamples_do_not_depend_on_how_many_are_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    statistics = topics(np.random.default_rng(0), 40)
    whole = bootstrap.sums(statistics, resamples=30)
    monkeypatch.setattr(bootstrap, "AT_ONCE", 90)
    assert np.allclose(bootstrap.sums(statistics, resamples=30), whole, rtol=1e-12)


def test_more_samples_narrow_an_interval_as_the_root_of_their_number() -> None:
    of = summary(TOPICS)
    ends = [bootstrap.intervals(topics(np.random.default_rng(0), n), of)["accuracy"] for n in (200, 3200)]
    few, many = (high - low for low, high in ends)
    assert 3 < few / many < 5.5


def test_a_metric_that_never_differs_is_its_own_interval() -> None:
    sure = np.eye(5, dtype=np.float32)[[0, 1, 2, 3, 4] * 4] * 30
    found = bootstrap.intervals(TOPICS.statistics(list(sure), [0, 1, 2, 3, 4] * 4, LABELS), summary(TOPICS))
    assert found["accuracy"] == (1, 1)


def test_what_is_not_defined_has_no_interval() -> None:
    """A label without a sample leaves no area."""
    random = np.random.default_rng(0)
    statistics = TOPICS.statistics(list(random.normal(size=(20, 5))), [0, 1] * 10, LABELS)
    assert "roc_auc" not in bootstrap.intervals(statistics, summary(TOPICS))
