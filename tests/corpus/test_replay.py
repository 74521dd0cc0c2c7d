"""Replay: the share that was asked for, evenly, and the same samples whatever the number of workers."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import make_corpus, place

from gb_ray.corpus.corpus import Corpus
from gb_ray.corpus.reading.reader import Reader, Sample
from gb_ray.corpus.reading.replay import Replay, drawn

NEW, OLD = 90, 40
OFFSET = 100
"""Added to old labels, which tells them from new ones."""


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> tuple[Corpus, Corpus]:
    folder = tmp_path_factory.mktemp("replay")
    new = make_corpus(folder / "new", {"train": [(1.0, NEW)]}, lanes=6, shard_rows=4)
    return new, make_corpus(folder / "old", {"train": [(1.0, OLD)]}, lanes=4, shard_rows=4, seed=1)


def replay(corpora: tuple[Corpus, Corpus], share: float, worker: int = 0, workers: int = 1) -> Replay:
    new, old = (Reader(corpus, "train", 0, worker, workers) for corpus in corpora)
    return Replay(new, old, share, lambda sample: sample.label + OFFSET)


def is_old(sample: Sample) -> bool:
    label: Any = sample.label
    return bool(label >= OFFSET)


def numbers(samples: list[Sample], old: bool) -> list[int]:
    return [place(sample.id)[2] for sample in samples if is_old(sample) == old]


@settings(max_examples=12)
@given(st.floats(0.02, 0.9), st.integers(0, 3), st.integers(1, 40), st.integers(2, 5))
def test_samples_of_a_step_do_not_depend_on_the_workers(
    corpora: tuple[Corpus, Corpus], share: float, epoch: int, batch: int, workers: int
) -> None:
    one = replay(corpora, share)
    many = [replay(corpora, share, worker, workers) for worker in range(workers)]
    for start in range(0, one.samples_per_epoch, batch):
        expected = one.step(epoch, start, start + batch)
        found = [sample for each in many for sample in each.step(epoch, start, start + batch)]
        assert len(expected) == min(batch, one.samples_per_epoch - start)
        assert sorted((s.id, is_old(s)) for s in found) == sorted((s.id, is_old(s)) for s in expected)
    for each in (one, *many):
        each.close()


@settings(max_examples=12)
@given(st.floats(0.02, 0.9), st.integers(0, 60), st.integers(1, 60))
def test_every_stretch_has_the_share_to_within_one_sample(
    corpora: tuple[Corpus, Corpus], share: float, start: int, length: int
) -> None:
    both = replay(corpora, share)
    found = both.step(0, start, start + length)
    exact = drawn(NEW, share) / both.samples_per_epoch
    assert abs(sum(map(is_old, found)) - exact * len(found)) < 1
    assert abs(exact * both.samples_per_epoch - share * both.samples_per_epoch) <= 1 + share
    both.close()


def test_an_epoch_has_every_new_sample_once_and_old_ones_come_again_when_all_have_come(
    corpora: tuple[Corpus, Corpus],
) -> None:
    both, seen = replay(corpora, 0.25), Counter[int]()
    for epoch in range(4):
        samples = both.step(epoch, 0, both.samples_per_epoch)
        assert sorted(numbers(samples, old=False)) == list(range(NEW))
        seen.update(numbers(samples, old=True))
        assert sum(seen.values()) == (epoch + 1) * 30  # a quarter of 120
        counts = [seen[number] for number in range(OLD)]
        assert max(counts) - min(counts) <= 1
    both.close()


def test_a_step_is_the_same_in_a_fresh_reader_that_starts_there(corpora: tuple[Corpus, Corpus]) -> None:
    running, fresh = replay(corpora, 0.4), replay(corpora, 0.4)
    steps = [running.step(epoch, start, start + 16) for epoch in range(2) for start in range(0, 150, 16)]
    again = fresh.step(1, 48, 64)
    assert [sample.id for sample in again] == [sample.id for sample in steps[10 + 3]]
    for each in (running, fresh):
        each.close()
