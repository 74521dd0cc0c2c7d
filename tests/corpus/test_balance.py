"""Rows of rare labels are repeated until an epoch sees all labels alike, in the order that no worker count changes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from builds import ids_on_disk, jsonl, row
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gb_ray.corpus.build import build
from gb_ray.corpus.catalogue import portrait
from gb_ray.corpus.catalogue.check import check
from gb_ray.corpus.corpus import Corpus
from gb_ray.corpus.plan import prepare
from gb_ray.corpus.reading.reader import Reader, Sample
from gb_ray.corpus.section import CorpusSection
from gb_ray.corpus.stages import strata
from gb_ray.progress import Progress
from gb_ray.recipe import parse
from gb_ray.section import UserError
from gb_ray.tasks.section import SequenceClassificationSection
from gb_ray.tasks.task import make

COUNTS = {"common": 90, "scarce": 10}
BATCH = 16


def corpus_of(folder: Path, backbone: Path, balance: float, counts: dict[str, int]) -> Corpus:
    rows = [row(f"{label} text {i}", label) for label, count in counts.items() for i in range(count)]
    uri = jsonl(folder / "train.jsonl", rows)
    tested = jsonl(folder / "test.jsonl", [row(f"tested {one['text']}", one["label"]) for one in rows])
    sources = [{"uri": str(uri), "split": "train"}, {"uri": str(tested), "split": "test"}]
    section = CorpusSection.model_validate({"sources": sources, "lanes": 4, "shard_rows": 4, "window_shards": 2})
    task = SequenceClassificationSection(type="sequence-classification", balance=balance)
    return build(prepare("rare", "topic", section, make(task, str(backbone), 16), backbone), folder, Progress())


@pytest.fixture(scope="module")
def corpora(ray_up: str, backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Corpus]:
    folders = {name: tmp_path_factory.mktemp(name) for name in ("plain", "balanced", "lone")}
    return {
        "plain": corpus_of(folders["plain"], backbone, 0.0, COUNTS),
        "balanced": corpus_of(folders["balanced"], backbone, 1.0, COUNTS),
        "lone": corpus_of(folders["lone"], backbone, 1.0, {**COUNTS, "lone": 1}),
    }


def step(corpus: Corpus, workers: int, epoch: int, start: int, stop: int) -> list[Sample]:
    """The samples of all workers."""
    found = []
    for worker in range(workers):
        with Reader(corpus, "train", 3, worker, workers) as reader:
            found += reader.step(epoch, start, stop)
    return found


def labels(corpus: Corpus, samples: list[Sample]) -> Counter[str]:
    return Counter(corpus.manifest.labels[sample.label] for sample in samples)


def test_every_stretch_of_an_epoch_has_as_many_samples_of_each_label(corpora: dict[str, Corpus]) -> None:
    plain, balanced = corpora["plain"], corpora["balanced"]
    assert plain.manifest.splits["train"].epoch == 100
    assert balanced.manifest.splits["train"].epoch == 180
    for start in range(0, 96, BATCH):
        assert abs(labels(balanced, step(balanced, 1, 0, start, start + BATCH))["scarce"] - BATCH / 2) <= 1
    assert labels(plain, step(plain, 1, 0, 0, 100)) == COUNTS
    assert labels(balanced, step(balanced, 1, 1, 0, 180)) == {"common": 90, "scarce": 90}


def test_no_row_is_left_out_and_rows_of_one_label_come_equally_often(corpora: dict[str, Corpus]) -> None:
    lone = corpora["lone"]
    seen = Counter(sample.id for sample in step(lone, 2, 0, 0, 270))
    by_label: dict[str, set[int]] = {name: set() for name in lone.manifest.labels}
    for sample in step(lone, 2, 0, 0, 270):
        by_label[lone.manifest.labels[sample.label]].add(seen[sample.id])
    assert by_label == {"common": {1}, "scarce": {9}, "lone": {90}}
    assert len(seen) == 101


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["balanced", "lone"]),
    workers=st.sampled_from([2, 3, 4]),
    epoch=st.integers(0, 3),
    number=st.integers(0, 16),
)
def test_each_step_has_the_same_samples_on_any_number_of_workers(
    corpora: dict[str, Corpus], name: str, workers: int, epoch: int, number: int
) -> None:
    at = (epoch, number * BATCH, (number + 1) * BATCH)
    alone, together = step(corpora[name], 1, *at), step(corpora[name], workers, *at)
    assert Counter(sample.id for sample in alone) == Counter(sample.id for sample in together)


def test_what_is_measured_is_never_repeated(corpora: dict[str, Corpus]) -> None:
    plain, balanced = corpora["plain"].manifest.splits["test"], corpora["balanced"].manifest.splits["test"]
    assert balanced.epoch == balanced.samples == 100 and not balanced.seen
    assert [shard.sha256 for shard in balanced.shards] == [shard.sha256 for shard in plain.shards]
    with Reader(corpora["balanced"], "train", 0) as reader:
        assert len(list(reader.once())) == 100
    assert sorted(ids_on_disk(corpora["balanced"], "test")) == sorted(ids_on_disk(corpora["plain"], "test"))


def test_a_person_sees_how_often_rows_are_repeated(corpora: dict[str, Corpus]) -> None:
    lone, plain = corpora["lone"], corpora["plain"]
    assert lone.manifest.summary("here")["seen"] == {"lone": 90.0, "scarce": 9.0, "common": 1.0}
    assert lone.manifest.encoder["balance"] == 1.0 and not check(lone)
    shown = "\n".join(portrait.lines(lone, portrait.account(lone)))
    assert "an epoch sees lone 90 times, scarce 9 times, common 1 times" in shown
    assert "| lone | 90 |" in (lone.path / "README.md").read_text()
    assert "seen" not in plain.manifest.summary("here")


def test_a_corpus_without_the_key_is_described_as_ever(corpora: dict[str, Corpus]) -> None:
    """So that its digest, which its order follows from, stays what it was."""
    manifest = corpora["plain"].manifest
    (stratum,) = manifest.model_dump(mode="json")["splits"]["train"]["strata"]
    assert stratum.keys() == {"weight", "samples", "shards"} and "balance" not in manifest.encoder


@given(
    st.dictionaries(st.tuples(st.integers(0, 1), st.integers(0, 4)), st.integers(1, 500), min_size=1),
    st.floats(0, 1),
)
def test_shares_go_as_a_power_of_the_counts_and_nothing_is_seen_less(
    counts: dict[tuple[int, int], int], balance: float
) -> None:
    weights, names = [0.5, 2.0], list("abcde")
    pieces = {("train", weight * 5 + label): [(Path("f"), 0, n)] for (weight, label), n in sorted(counts.items())}
    found, kinds = strata.balanced({**pieces, ("test", 0): [(Path("f"), 0, 7)]}, weights, names, balance)
    assert list(found) == [*(("train", number) for number in range(len(counts))), ("test", 0)]
    before, after = Counter[str](), Counter[str]()
    for ((weight, label), n), kind in zip(sorted(counts.items()), kinds, strict=True):
        assert kind.label == names[label] and kind.weight >= weights[weight] * (1 - 1e-9)
        before[kind.label] += weights[weight] * n
        after[kind.label] += kind.weight * n
    for one in before:
        for other in before:
            assert after[one] / after[other] == pytest.approx((before[one] / before[other]) ** (1 - balance))


def test_what_has_no_one_label_or_would_count_twice_is_refused() -> None:
    task = {"type": "sequence-classification", "balance": 1.0}
    recipe = {"name": "x", "corpus": {"sources": [{"uri": "x"}]}, "model": {"path": "x"}}
    with pytest.raises(UserError, match="balance: is of one label a text"):
        parse({**recipe, "tasks": {"topic": task | {"multi_label": True}}}, [], "r")
    with pytest.raises(UserError, match="rare labels would count twice"):
        parse({**recipe, "tasks": {"topic": task | {"class_weights": "balanced"}}}, [], "r")
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        SequenceClassificationSection(type="sequence-classification", balance=1.5)
