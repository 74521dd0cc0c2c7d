"""Several corpora read as one: a step's samples follow from position alone, and each has its share everywhere."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import make_corpus, place

from gb_ray.corpus.corpus import Corpus
from gb_ray.corpus.reading.mixture import Mixture
from gb_ray.corpus.reading.reader import Reader

WORKERS = [1, 2, 3, 4, 7]
STRATA: list[list[tuple[float, int]]] = [[(1.0, 301)], [(0.5, 120), (2.0, 40)], [(1.0, 9)]]
LAYOUT = [(8, 5), (3, 7), (1, 4)]
"""(lanes, shard_rows) of each corpus."""


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> list[Corpus]:
    """Of three tasks, with lanes, shards and sources of their own."""
    folder = tmp_path_factory.mktemp("several")
    return [
        make_corpus(folder / f"task-{i}", {"train": strata, "test": [(1.0, 11 + i)]}, lanes, rows, 2, seed=i)
        for i, (strata, (lanes, rows)) in enumerate(zip(STRATA, LAYOUT, strict=True))
    ]


@pytest.fixture(scope="module")
def weights(corpora: list[Corpus]) -> dict[tuple[int, str], float]:
    """Of each training sample, by (task, id), as the files have it."""
    return {
        (task, id): STRATA[task][place(id)[1]][0]
        for task, corpus in enumerate(corpora)
        for shard in corpus.manifest.splits["train"].shards
        for id in pq.read_table(corpus.path / shard.path)["id"].to_pylist()
    }


@settings(max_examples=8)
@given(data=st.data())
def test_each_step_has_the_same_samples_whatever_the_workers_and_restarts(
    corpora: list[Corpus], data: st.DataObject
) -> None:
    """Two epochs; at any step the job may stop and go on with another number of workers."""
    batch = data.draw(st.integers(5, 200))
    with Reader(corpora, "train", 1) as alone:
        total = alone.samples_per_epoch
        plan = [(epoch, start) for epoch in (0, 1) for start in range(0, total, batch)]
        wanted = [[(s.task, s.id) for s in alone.step(epoch, start, start + batch)] for epoch, start in plan]
    counts = data.draw(st.lists(st.sampled_from(WORKERS), min_size=1, max_size=3))
    edges = sorted(data.draw(st.lists(st.integers(0, len(plan)), min_size=len(counts) - 1, max_size=len(counts) - 1)))
    for workers, first, last in zip(counts, [0, *edges], [*edges, len(plan)], strict=True):
        readers = [Reader(corpora, "train", 1, worker, workers) for worker in range(workers)]
        for (epoch, start), expected in zip(plan[first:last], wanted[first:last], strict=True):
            shares = [[(s.task, s.id) for s in reader.step(epoch, start, start + batch)] for reader in readers]
            assert sorted(entry for share in shares for entry in share) == sorted(expected)
            for worker, share in enumerate(shares):
                # A worker reads its lanes alone, and keeps the order of positions.
                assert all(place(id)[2] % LAYOUT[task][0] % workers == worker for task, id in share)
                own = set(share)
                assert share == [entry for entry in expected if entry in own]
        for reader in readers:
            reader.close()


@pytest.mark.parametrize("workers", WORKERS)
def test_an_epoch_sees_each_sample_of_each_corpus_as_often_as_its_weight_says(
    corpora: list[Corpus], weights: dict[tuple[int, str], float], workers: int
) -> None:
    seen = Counter[tuple[int, str]]()
    for worker in range(workers):
        with Reader(corpora, "train", 0, worker, workers) as reader:
            for epoch in (0, 1):
                seen.update((s.task, s.id) for s in reader.step(epoch, 0, reader.samples_per_epoch))
    assert seen == {entry: 2 * weight for entry, weight in weights.items()}


def test_every_stretch_of_an_epoch_has_its_share_of_each_corpus(corpora: list[Corpus]) -> None:
    with Reader(corpora, "train", 0) as reader:
        tasks = np.array([sample.task for sample in reader.step(0, 0, reader.samples_per_epoch)])
    for task, strata in enumerate(STRATA):
        share = sum(round(weight * samples) for weight, samples in strata) / len(tasks)
        ahead = np.concatenate([[0], np.cumsum((tasks == task) - share)])
        # Each of its strata is off by less than 2.
        assert ahead.max() - ahead.min() < 2 * len(strata), task


def test_each_corpus_keeps_the_streams_it_has_alone(corpora: list[Corpus]) -> None:
    with Reader(corpora, "train", 5) as together:
        mixed = together.step(0, 0, together.samples_per_epoch)
    for task, corpus in enumerate(corpora):
        with Reader(corpus, "train", 5) as alone:
            own = alone.step(0, 0, alone.samples_per_epoch)
        for k in range(len(STRATA[task])):
            streams = [
                [s.id for s in part if place(s.id)[1] == k] for part in ([s for s in mixed if s.task == task], own)
            ]
            assert streams[0] == streams[1]


def test_once_gives_every_sample_with_its_task(corpora: list[Corpus]) -> None:
    found = Counter(s.task for worker in range(3) for s in Reader(corpora, "test", 0, worker, 3).once())
    assert found == {0: 11, 1: 12, 2: 13}


def test_joined_mixtures_are_those_of_one_corpus_with_all_strata(corpora: list[Corpus]) -> None:
    mixtures = [Mixture.of(corpus.manifest, "train", 3) for corpus in corpora]
    joined = Mixture.joined(mixtures)
    assert joined.samples == sum(mixture.samples for mixture in mixtures)
    assert Mixture.joined(mixtures[:1]) == mixtures[0]
