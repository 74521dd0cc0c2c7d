"""The reader: each step's samples are the same whatever the workers and the past; its memory and thread are bounded."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from synthetic import make_corpus, place

from gb_ray.corpus.corpus import Corpus
from gb_ray.corpus.reading.fetch import DamagedCorpus
from gb_ray.corpus.reading.mixture import Mixture
from gb_ray.corpus.reading.reader import Reader, Sample

WORKERS = [1, 2, 3, 4, 7, 16]
Sampled = list[tuple[str, list[int], object]]


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, bool], Corpus]:
    """Small corpora by (lanes, whether sources have weights)."""
    folder = tmp_path_factory.mktemp("corpora")
    made = {}
    for lanes in (1, 8, 64):
        for mixed in (False, True):
            strata = [(1.0, 301), (0.5, 120), (2.0, 40)] if mixed else [(1.0, 333)]
            splits = {"train": strata, "test": [(1.0, 45), (1.0, 3)]}
            made[lanes, mixed] = make_corpus(folder / f"c-{lanes}-{mixed}", splits, lanes, 5, 2, seed=lanes)
    return made


CORPUS = st.tuples(st.sampled_from([1, 8, 64]), st.booleans())


def plain(samples: list[Sample]) -> Sampled:
    """Comparable with ==."""
    return [(id, ids.tolist(), label if isinstance(label, int) else label.tolist()) for id, ids, label, _ in samples]


def expected(corpus: Corpus, epoch: int, start: int, stop: int) -> list[tuple[int, int]]:
    """(stratum, sample) at each position, as the order says."""
    mixture, lanes, rows = Mixture.of(corpus.manifest, "train", 1), corpus.manifest.lanes, corpus.manifest.shard_rows
    located = mixture.locate(epoch, np.arange(start, min(stop, mixture.samples)))
    return [
        (k, (shard * rows + row) * lanes + lane)
        for k, lane, shard, row in zip(*map(np.ndarray.tolist, located), strict=True)
    ]


def on_disk(corpus: Corpus, split: str) -> Sampled:
    files = [corpus.path / shard.path for shard in corpus.manifest.splits[split].shards]
    rows = [row for file in files for row in pq.read_table(file).to_pylist()]
    return [(row["id"], row["input_ids"], row["label"]) for row in rows]


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CORPUS, st.integers(1, 90), st.lists(st.sampled_from(WORKERS), min_size=1, max_size=4), st.data())
def test_each_step_has_the_same_samples_whatever_the_workers_and_restarts(
    corpora: dict[tuple[int, bool], Corpus],
    which: tuple[int, bool],
    batch: int,
    workers: list[int],
    data: st.DataObject,
) -> None:
    """Two epochs; at any step the job may stop and go on with another number of workers."""
    corpus = corpora[which]
    samples = corpus.manifest.splits["train"].epoch
    plan = [(epoch, start) for epoch in (0, 1) for start in range(0, samples, batch)]
    edges = sorted(data.draw(st.lists(st.integers(0, len(plan)), min_size=len(workers) - 1, max_size=len(workers) - 1)))
    for count, first, last in zip(workers, [0, *edges], [*edges, len(plan)], strict=True):
        readers = [Reader(corpus, "train", 1, worker, count) for worker in range(count)]
        for epoch, start in plan[first:last]:
            wanted = expected(corpus, epoch, start, start + batch)
            for worker, reader in enumerate(readers):
                found = [place(sample.id)[1:] for sample in reader.step(epoch, start, start + batch)]
                assert found == [(k, g) for k, g in wanted if g_lane(corpus, g) % count == worker]
        for reader in readers:
            reader.close()


def g_lane(corpus: Corpus, g: int) -> int:
    return g % corpus.manifest.lanes


@pytest.mark.parametrize("lanes", [1, 8, 64])
@pytest.mark.parametrize("workers", WORKERS)
def test_an_epoch_sees_each_sample_as_often_as_its_weight_says(
    corpora: dict[tuple[int, bool], Corpus], lanes: int, workers: int
) -> None:
    for mixed, weights in ((False, [1.0]), (True, [1.0, 0.5, 2.0])):
        corpus, seen = corpora[lanes, mixed], Counter[str]()
        for worker in range(workers):
            with Reader(corpus, "train", 0, worker, workers) as reader:
                for epoch in (0, 1):
                    seen.update(sample.id for sample in reader.step(epoch, 0, reader.samples_per_epoch))
        assert seen == {id: 2 * weights[place(id)[1]] for id, _, _ in on_disk(corpus, "train")}


@pytest.mark.parametrize("split", ["train", "test", "validation"])
@pytest.mark.parametrize("workers", WORKERS)
def test_once_gives_every_sample_of_a_split_once_as_it_is_on_disk(
    corpora: dict[tuple[int, bool], Corpus], split: str, workers: int
) -> None:
    corpus = corpora[8, True]
    found = [s for worker in range(workers) for s in Reader(corpus, split, 0, worker, workers).once()]
    assert sorted(plain(found)) == sorted(on_disk(corpus, split))


@pytest.mark.parametrize(("label", "dtype"), [("class", int), ("tokens", np.int32), ("values", np.float32)])
def test_samples_hold_what_is_on_disk(label: str, dtype: type, tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "c", {"train": [(1.0, 50)]}, 2, 8, 2, label=label, keep_text=label == "class")
    disk = {id: rest for id, *rest in on_disk(corpus, "train")}
    with Reader(corpus, "train", 0) as reader:
        for samples in (reader.step(0, 0, 50), list(reader.once())):
            assert {id: rest for id, *rest in plain(samples)} == disk
            for sample in samples:
                assert sample.input_ids.dtype == np.int32
                assert type(sample.label) is int if dtype is int else sample.label.dtype == dtype


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CORPUS, st.sampled_from([(0, 1), (1, 3)]), st.data())
def test_what_was_read_before_changes_nothing(
    corpora: dict[tuple[int, bool], Corpus], which: tuple[int, bool], share: tuple[int, int], data: st.DataObject
) -> None:
    corpus = corpora[which]
    samples = corpus.manifest.splits["train"].epoch
    place = st.tuples(st.integers(0, 3), st.integers(0, samples), st.integers(0, samples))
    with Reader(corpus, "train", 0, *share) as used:
        for epoch, start, stop in data.draw(st.lists(place, min_size=2, max_size=4)):
            with Reader(corpus, "train", 0, *share) as fresh:
                assert plain(used.step(epoch, start, stop)) == plain(fresh.step(epoch, start, stop))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """A corpus of 8 shards."""
    return make_corpus(tmp_path_factory.mktemp("whole") / "c", {"train": [(1.0, 150)]}, 2, 20, 2)


def test_damage_is_met_at_the_step_that_needs_it_and_a_mended_shard_is_read(tmp_path: Path) -> None:
    """What is fetched ahead and fails, fails the step that asks for it, each time until it can be read."""
    corpus = make_corpus(tmp_path / "c", {"train": [(1.0, 3 * 4096)]}, 1, 4096, 1)
    _, _, shards, _ = Mixture.of(corpus.manifest, "train", 0).locate(0, np.array([4096]))
    file = corpus.path / corpus.manifest.splits["train"].strata[0].shards[0][shards[0]].path
    content = file.read_bytes()
    file.unlink()
    with Reader(corpus, "train", 0) as reader:
        assert len(reader.step(0, 0, 4096)) == 4096
        for _ in range(2):
            with pytest.raises(DamagedCorpus, match="it is missing"):
                reader.step(0, 4090, 4100)
        file.write_bytes(content)
        assert len(reader.step(0, 4090, 4100)) == 10


def test_at_most_two_windows_of_each_lane_are_in_memory(tmp_path: Path) -> None:
    """Arrow's own account of its memory, against the arithmetic of the reader's documentation."""
    lanes, rows, window, tokens = 4, 512, 2, 100
    corpus = make_corpus(tmp_path / "c", {"train": [(1.0, 80_000)]}, lanes, rows, window, (tokens, tokens))
    two_windows = 2 * lanes * window * rows * (44 + 4 * tokens)
    on_the_way = window * rows * 2 * (44 + 4 * tokens) + max(s.bytes for s in corpus.manifest.splits["train"].shards)
    chunk = 4096 * (44 + 4 * tokens)
    before, most = pa.total_allocated_bytes(), 0
    with Reader(corpus, "train", 0) as reader:
        for start in range(0, 80_000, 500):
            reader.step(0, start, start + 500)
            most = max(most, pa.total_allocated_bytes() - before)
    assert two_windows / 3 < most < 1.1 * (two_windows + on_the_way + 2 * chunk)
    assert two_windows < 80_000 * (44 + 4 * tokens) / 4, "or the corpus is too small to tell"


@pytest.mark.parametrize("end", [lambda reader: reader.close(), lambda reader: reader.__exit__(None, None, None), None])
def test_the_thread_ends_with_the_reader(whole: Corpus, end: Callable[[Reader], None] | None) -> None:
    gc.collect()
    before = threading.active_count()
    reader = Reader(whole, "train", 0)
    reader.step(0, 0, 10)
    assert threading.active_count() == before + 1
    if end:
        end(reader)
        assert threading.active_count() == before
        with pytest.raises(ValueError, match="closed"):
            list(reader.once())
    del reader
    assert threading.active_count() == before


def test_a_process_ends_at_once_with_a_reader_that_was_not_closed(whole: Corpus) -> None:
    code = f"""
from pathlib import Path
from gb_ray.corpus.corpus import Corpus
from gb_ray.corpus.reading.reader import Reader
reader = Reader(Corpus.open(Path({str(whole.path)!r})), "train", 0)
print(len(reader.step(0, 0, 10)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "10\n", "")
