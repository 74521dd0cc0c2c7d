"""Shards as they are fetched: damage never goes through, and a store's bad moments do not show."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from s3 import S3, serve
from synthetic import make_corpus

from gb_ray.corpus.corpus import Corpus, seal
from gb_ray.corpus.reading.fetch import DamagedCorpus
from gb_ray.corpus.reading.reader import Reader, Sample
from gb_ray.corpus.sources import remote
from gb_ray.section import UserError


def plain(samples: list[Sample]) -> list[tuple[str, list[int], object]]:
    """Comparable with ==."""
    return [(sample.id, sample.input_ids.tolist(), sample.label) for sample in samples]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """A corpus of 8 shards, to be damaged and mended."""
    corpus = make_corpus(tmp_path_factory.mktemp("whole") / "c", {"train": [(1.0, 150)]}, 2, 20, 2)
    read_all(corpus)
    return corpus


def read_all(corpus: Corpus) -> None:
    with Reader(corpus, "train", 0) as reader:
        reader.step(0, 0, reader.samples_per_epoch)


def damages(draw: st.DrawFn, files: list[Path]) -> list[Path]:
    """Do one damage; which files a message may name."""
    kind = draw(st.sampled_from(["truncate", "flip", "delete", "swap", "empty", "append"]))
    one, other = (files[i] for i in draw(st.permutations(range(len(files))))[:2])
    content = bytearray(one.read_bytes())
    if kind == "truncate":
        one.write_bytes(content[: draw(st.integers(1, len(content) - 1))])
    elif kind == "flip":
        content[draw(st.integers(0, len(content) - 1))] ^= 1 << draw(st.integers(0, 7))
        one.write_bytes(content)
    elif kind == "delete":
        one.unlink()
    elif kind == "swap":
        one.write_bytes(other.read_bytes())
        other.write_bytes(content)
        return [one, other]
    else:
        one.write_bytes(b"" if kind == "empty" else content + b"\0")
    return [one]


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_shard_is_refused_by_name(whole: Corpus, data: st.DataObject) -> None:
    files = [whole.path / shard.path for shard in whole.manifest.splits["train"].shards]
    good = {file: file.read_bytes() for file in files}
    try:
        named = data.draw(st.composite(damages)(files))
        for read in (read_all, lambda corpus: list(Reader(corpus, "train", 0).once())):
            with pytest.raises(DamagedCorpus) as caught:
                read(whole)
            assert any(str(caught.value).startswith(f"{file}: damaged: ") for file in named)
            assert "gb corpus check" in str(caught.value)
    finally:
        for file, content in good.items():
            file.write_bytes(content)


def test_a_shard_with_another_number_of_rows_than_the_manifest_says_is_refused(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "c", {"train": [(1.0, 30)]}, 1, 10, 2)
    stratum = corpus.manifest.splits["train"].strata[0]
    shards = [[stratum.shards[0][0].model_copy(update={"rows": 9}), *stratum.shards[0][1:]]]
    strata = [stratum.model_copy(update={"shards": shards})]
    train = corpus.manifest.splits["train"].model_copy(update={"strata": strata})
    splits = corpus.manifest.splits | {"train": train}
    with pytest.raises(DamagedCorpus, match=r"lane-00000/shard-00000.parquet: damaged: it has 10 rows, expected 9"):
        read_all(seal(corpus.path, corpus.manifest.model_copy(update={"splits": splits})))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """An object store with a corpus in it."""
    folder = tmp_path_factory.mktemp("store")
    (folder / "bucket").mkdir()
    make_corpus(folder / "bucket" / "c", {"train": [(1.0, 150)], "test": [(1.0, 9)]}, 2, 20, 2)
    with serve(folder) as server:
        yield server


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PAUSES", (0.01, 0.01, 0.01, 0.01))


@pytest.mark.usefixtures("quick")
def test_a_corpus_in_an_object_store_reads_as_one_on_disk(store: S3) -> None:
    """Through errors of the server, cut connections and bodies that end early."""
    there, here = Corpus.open(store.uri("bucket/c")), Corpus.open(store.folder / "bucket" / "c")
    store.faults.errors = store.faults.cuts = store.faults.shorts = 2
    with Reader(there, "train", 1) as remote_reader, Reader(here, "train", 1) as local_reader:
        assert plain(remote_reader.step(0, 0, 150)) == plain(local_reader.step(0, 0, 150))
        assert plain(list(remote_reader.once())) == plain(list(local_reader.once()))
    assert (store.faults.errors, store.faults.cuts, store.faults.shorts) == (0, 0, 0)


@pytest.mark.usefixtures("quick")
def test_a_store_that_stays_away_is_one_clear_error(store: S3) -> None:
    with Reader(Corpus.open(store.uri("bucket/c")), "train", 1) as reader:
        store.faults.always_error = True
        try:
            with pytest.raises(remote.Unreachable, match=r"^s3://bucket/c/train/.*parquet: gave up after 5 tries"):
                reader.step(0, 0, 10)
        finally:
            store.faults.always_error = False
        assert len(reader.step(0, 0, 10)) == 10


@pytest.mark.usefixtures("quick")
def test_a_damaged_or_missing_shard_in_a_store_is_refused_by_name(store: S3) -> None:
    corpus = Corpus.open(store.uri("bucket/c"))
    file = store.folder / "bucket/c" / corpus.manifest.splits["test"].shards[0].path
    content = file.read_bytes()
    for damage in (lambda: file.write_bytes(content[:-1] + b"\0"), lambda: file.write_bytes(content[:9]), file.unlink):
        damage()
        with pytest.raises(DamagedCorpus, match=r"^s3://bucket/c/test/stratum-0/lane-00000/shard-00000.parquet: "):
            list(Reader(corpus, "test", 0).once())
    file.write_bytes(content)


def test_what_is_no_corpus_in_a_store_is_refused_by_address(store: S3) -> None:
    with pytest.raises(UserError, match=r"^s3://bucket/absent: not a corpus"):
        Corpus.open(store.uri("bucket/absent"))
    with pytest.raises(UserError, match=r"^s3://bucket/c: this needs the corpus on this machine"):
        _ = Corpus.open(store.uri("bucket/c")).path


def test_a_store_is_asked_for_several_shards_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "bucket").mkdir()
    make_corpus(tmp_path / "bucket" / "c", {"train": [(1.0, 16 * 1024)]}, 8, 1024, 1)
    with serve(tmp_path) as server, Reader(Corpus.open(server.uri("bucket/c")), "train", 1) as reader:
        server.faults.slow = 0.4
        began = time.perf_counter()
        reader.step(0, 0, 8)
        assert time.perf_counter() - began < 8 * 0.4 * 0.8, "eight shards were asked for, one after the other"
