"""A corpus: every row accounted for, and the same bytes whenever it is built."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from builds import (
    LANES,
    PLAIN,
    QUARANTINED,
    SHARD_ROWS,
    SPLITS,
    ids_on_disk,
    jsonl,
    left_out,
    nasty_sources,
    plan_of,
    row,
    rows_on_disk,
    tree,
)
from helpers import ROOT

from gb_ray.corpus.build import build
from gb_ray.corpus.catalogue.check import check
from gb_ray.corpus.corpus import Corpus
from gb_ray.corpus.plan import Plan, prepare
from gb_ray.corpus.reading.order import Order
from gb_ray.corpus.reading.reader import Reader
from gb_ray.corpus.section import CorpusSection
from gb_ray.progress import Progress
from gb_ray.section import UserError
from gb_ray.tasks.section import SequenceClassificationSection, TokenClassificationSection
from gb_ray.tasks.task import make

DATA = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="module")
def nasty(ray_up: str, backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Corpus, Path]:
    """(plan, corpus, home)"""
    folder = tmp_path_factory.mktemp("nasty")
    plan = plan_of(backbone, nasty_sources(folder))
    return plan, build(plan, folder / "home", Progress()), folder / "home"


@pytest.fixture
def corpus(nasty: tuple[Plan, Corpus, Path]) -> Corpus:
    return nasty[1]


def test_every_row_is_a_sample_a_duplicate_filtered_or_quarantined(corpus: Corpus) -> None:
    funnel = corpus.manifest.funnel
    # train.jsonl and test.jsonl each bring two rows that are nowhere else, one of them the same in both.
    assert funnel.model_dump(exclude={"reasons", "masked"}) == {
        "read": 166 + 152 + 3 + 3,
        "filtered": 1,
        "quarantined": len(QUARANTINED),
        "dropped": 0,
        "repaired": 0,
        "duplicates": 3 + 2 + 2 + 1,
        "conflicting": 2,
        "near_duplicates": 0,
        "leaks": 0,
        "samples": 300 + 3,
    }
    assert funnel.adds_up()
    assert sum(len(ids_on_disk(corpus, split)) for split in SPLITS) == funnel.samples


def test_every_source_accounts_for_its_own_rows(corpus: Corpus) -> None:
    found = [(s.read, s.filtered, s.quarantined, s.kept) for s in corpus.manifest.sources]
    assert found == [(166, 1, 12, 153), (152, 0, 0, 152), (3, 0, 0, 3), (3, 0, 0, 3)]


def test_each_row_left_out_is_named_with_its_source_file_row_and_reason(corpus: Corpus) -> None:
    lines = left_out(corpus.path)
    assert {line["step"] for line in lines} == {"quarantined"}
    assert {line["file"] for line in lines} == {corpus.manifest.sources[0].files[0].uri}
    assert {line["source"] for line in lines} == {corpus.manifest.sources[0].uri}
    assert {line["row"]: line["reason"] for line in lines} == QUARANTINED
    assert len(lines) == len(QUARANTINED)
    assert corpus.manifest.funnel.reasons == dict(Counter(QUARANTINED.values()))


def test_no_sample_is_there_twice_and_none_is_in_two_splits(corpus: Corpus) -> None:
    ids = [id for split in SPLITS for id in ids_on_disk(corpus, split)]
    assert len(ids) == len(set(ids))


def test_what_is_in_a_given_test_split_leaves_train(corpus: Corpus) -> None:
    texts = {split: {row["text"] for row in rows_on_disk(corpus, split)} for split in SPLITS}
    assert {"leaks from train to test", "given to test", PLAIN[4]["text"]} <= texts["test"]
    assert "given to train" in texts["train"]


def test_of_conflicting_duplicates_the_first_row_stays(corpus: Corpus) -> None:
    labels = {row["text"]: row["label_name"] for split in SPLITS for row in rows_on_disk(corpus, split)}
    assert (labels[PLAIN[1]["text"]], labels[PLAIN[3]["text"]]) == (PLAIN[1]["label"], PLAIN[3]["label"])


def test_lanes_are_equal_to_within_one_and_deal_the_samples_in_order_of_id(corpus: Corpus) -> None:
    for split in SPLITS:
        lanes = [[s.rows for s in lane] for lane in corpus.manifest.splits[split].strata[0].shards]
        sizes = [sum(lane) for lane in lanes]
        assert len(sizes) == LANES
        assert max(sizes) - min(sizes) <= 1
        assert sizes == sorted(sizes, reverse=True)
        assert all(rows == SHARD_ROWS for lane in lanes for rows in lane[:-1])
        ids = ids_on_disk(corpus, split)
        assert ids == sorted(ids)
        assert len(ids) == corpus.manifest.splits[split].samples


def test_the_manifest_counts_what_is_in_the_files(corpus: Corpus) -> None:
    for split in SPLITS:
        rows, entry = rows_on_disk(corpus, split), corpus.manifest.splits[split]
        assert entry.tokens == sum(len(row["input_ids"]) for row in rows)
        assert entry.longest == max(len(row["input_ids"]) for row in rows)
        assert entry.labels == dict(Counter(row["label_name"] for row in rows))
        assert all(corpus.manifest.labels[row["label"]] == row["label_name"] for row in rows)


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 7, 16])
def test_the_workers_together_read_each_global_batch_whatever_their_number(workers: int, corpus: Corpus) -> None:
    readers = [Reader(corpus, "train", 1, worker, workers) for worker in range(workers)]
    ids, batch = ids_on_disk(corpus, "train"), 32
    order = Order(corpus.manifest.splits["train"].samples_digest, 1, len(ids), LANES, SHARD_ROWS, 2)
    for epoch in (0, 1):
        for start in range(0, len(ids), batch):
            stop = min(start + batch, len(ids))
            found = [sample.id for reader in readers for sample in reader.step(epoch, start, start + batch)]
            where = zip(*order.locate(epoch, np_range(start, stop)), strict=True)
            expected = [ids[(int(s) * SHARD_ROWS + int(r)) * LANES + int(lane)] for lane, s, r in where]
            assert sorted(found) == sorted(expected)


def np_range(start: int, stop: int) -> Any:
    import numpy as np

    return np.arange(start, stop, dtype=np.int64)


@pytest.mark.parametrize("workers", [1, 3, 7])
def test_reading_once_visits_every_sample_once_with_its_tokens_and_label(workers: int, corpus: Corpus) -> None:
    for split in SPLITS:
        found = [s for worker in range(workers) for s in Reader(corpus, split, 0, worker, workers).once()]
        expected = {row["id"]: (row["input_ids"], row["label"]) for row in rows_on_disk(corpus, split)}
        assert len(found) == len(expected)
        assert {s.id: (s.input_ids.tolist(), s.label) for s in found} == expected


def test_building_again_is_a_matter_of_opening(nasty: tuple[Plan, Corpus, Path]) -> None:
    plan, corpus, home = nasty
    before = {file: file.stat().st_mtime_ns for file in corpus.path.rglob("*")}
    progress = Progress()
    assert build(plan, home, progress).manifest == corpus.manifest
    assert progress.seconds == {}
    assert {file: file.stat().st_mtime_ns for file in corpus.path.rglob("*")} == before


def test_two_builds_are_the_same_bytes(nasty: tuple[Plan, Corpus, Path], tmp_path: Path) -> None:
    plan, corpus, _ = nasty
    again = build(plan, tmp_path, Progress())
    assert again.path != corpus.path
    assert again.manifest.digest == corpus.manifest.digest
    assert tree(again.path) == tree(corpus.path)


@pytest.mark.usefixtures("ray_up")
def test_files_in_another_place_are_trained_on_in_the_same_order(backbone: Path, tmp_path: Path) -> None:
    corpora = []
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        sources = [{"uri": str(jsonl(tmp_path / place / "rows.jsonl", PLAIN))}]
        corpora.append(build(plan_of(backbone, sources), tmp_path / place, Progress()))
    assert corpora[0].manifest.digest != corpora[1].manifest.digest  # it says where the rows came from
    one, two = ([sample.id for sample in Reader(corpus, "train", 1, 0, 1).step(0, 0, 500)] for corpus in corpora)
    assert one == two != sorted(one)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace('"samples": ', '"samples": 1', 1), "altered since it was written"),
        (lambda text: text[:100], "not a manifest this version reads"),
        (lambda text: text.replace('"funnel"', '"tunnel"', 1), "not a manifest this version reads"),
    ],
)
def test_a_changed_manifest_is_no_corpus(change: Any, said: str, plain: Corpus, tmp_path: Path) -> None:
    text = (plain.path / "manifest.json").read_text()
    (tmp_path / "manifest.json").write_text(change(text))
    with pytest.raises(UserError, match=said):
        Corpus.open(tmp_path)


def test_a_corpus_is_found_by_its_digest_beside_broken_ones(nasty: tuple[Plan, Corpus, Path]) -> None:
    _, corpus, home = nasty
    broken = home / "corpora" / "a-broken"
    broken.mkdir()
    (broken / "manifest.json").write_text("{")
    assert Corpus.find(home, corpus.manifest.digest).path == corpus.path
    with pytest.raises(UserError, match="no corpus with digest absent"):
        Corpus.find(home, "absent")


def test_one_more_file_is_the_only_one_that_is_read(ray_up: str, backbone: Path, tmp_path: Path) -> None:
    first, second = jsonl(tmp_path / "a.jsonl", PLAIN[:150]), jsonl(tmp_path / "b.jsonl", PLAIN[150:])
    home = tmp_path / "home"
    build(plan_of(backbone, [{"uri": str(first)}]), home, Progress())
    read = {path.parent: path.stat().st_mtime_ns for path in home.glob("corpora/nasty.parts/*/result.json")}
    both = build(plan_of(backbone, [{"uri": str(first)}, {"uri": str(second)}]), home, Progress())
    again = {path.parent: path.stat().st_mtime_ns for path in home.glob("corpora/nasty.parts/*/result.json")}
    assert len(read) == 1 and len(again) == 2
    assert read.items() <= again.items()
    assert both.manifest.funnel.read == 300


def test_sources_of_other_weights_lie_in_strata_of_their_own(ray_up: str, backbone: Path, tmp_path: Path) -> None:
    one, two = jsonl(tmp_path / "a.jsonl", PLAIN[:100]), jsonl(tmp_path / "b.jsonl", PLAIN[100:])
    sources = [{"uri": str(one), "weight": 2.5, "split": "train"}, {"uri": str(two), "split": "train"}]
    corpus = build(plan_of(backbone, sources), tmp_path / "home", Progress())
    train = corpus.manifest.splits["train"]
    assert [(stratum.weight, stratum.samples) for stratum in train.strata] == [(1.0, 200), (2.5, 100)]
    assert (train.samples, train.epoch) == (300, 450)
    assert {entry["source"] for entry in rows_on_disk(corpus, "train")} == {0, 1}


def test_every_cleaning_step_is_counted(ray_up: str, backbone: Path, tmp_path: Path) -> None:
    rows = [
        *PLAIN[:60],
        row("The cafÃ© by the river is open.", "water"),
        row("Write to ann@example.com about the pump.", "water"),
        row("word " * 37 + "ann@example.com" + " word" * 60, "water"),
        row("Der Fluss ist heute sehr hoch, und die Pumpe steht im Keller unter Wasser.", "water"),
    ]
    clean = {"repair": True, "max_chars": 200, "languages": ["en"], "identify": True, "personal": True}
    sources = [
        {"uri": str(jsonl(tmp_path / "plain.jsonl", rows[:60])), "language": "en"},
        {"uri": str(jsonl(tmp_path / "rows.jsonl", rows[60:]))},
    ]
    corpus = build(plan_of(backbone, sources, clean=clean), tmp_path / "home", Progress())
    funnel = corpus.manifest.funnel
    assert (funnel.repaired, funnel.masked, funnel.dropped) == (1, {"EMAIL": 1}, 2)
    assert funnel.reasons == {"over 200 characters": 1, "language de": 1}
    texts = {entry["text"] for split in SPLITS for entry in rows_on_disk(corpus, split)}
    assert {"The café by the river is open.", "Write to <EMAIL> about the pump."} <= texts
    assert {line["step"] for line in left_out(corpus.path)} == {"dropped"}
    assert not [line for line in left_out(corpus.path) if "ann" in line["excerpt"]]  # half of it is within 200
    assert sum(entry.languages["en"] for entry in corpus.manifest.splits.values()) == 62


def test_the_text_is_kept_only_if_asked_for(ray_up: str, backbone: Path, tmp_path: Path) -> None:
    sources = [{"uri": str(jsonl(tmp_path / "rows.jsonl", PLAIN))}]
    corpus = build(plan_of(backbone, sources, keep_text=False), tmp_path / "home", Progress())
    assert set(rows_on_disk(corpus, "train")[0]) == {"id", "source", "language", "input_ids", "label"}


def test_a_source_may_call_a_column_by_another_name(ray_up: str, backbone: Path, tmp_path: Path) -> None:
    rows = [{"body": entry["text"], "topic": entry["label"]} for entry in PLAIN[:30]]
    sources = [{"uri": str(jsonl(tmp_path / "rows.jsonl", rows)), "columns": {"text": "body", "label": "topic"}}]
    assert build(plan_of(backbone, sources), tmp_path / "home", Progress()).manifest.funnel.samples == 30


@pytest.mark.skipif(not (DATA / "banking77").is_dir(), reason="the folder with real data is not beside this checkout")
def test_real_help_desk_questions_build(ray_up: str, backbone: Path, tmp_path: Path) -> None:
    sources = [{"uri": str(DATA / f"banking77/{split}.parquet"), "split": split} for split in ("train", "test")]
    section = CorpusSection.model_validate({"sources": sources})
    task = make(SequenceClassificationSection(type="sequence-classification", label="category"), str(backbone), 64)
    corpus = build(prepare("banking77", "intent", section, task, backbone), tmp_path, Progress())
    funnel = corpus.manifest.funnel
    assert (funnel.read, len(corpus.manifest.labels)) == (13083, 77)
    assert funnel.read == funnel.duplicates + funnel.quarantined + funnel.samples
    assert funnel.samples > 13000
    assert check(corpus) == []


@pytest.mark.skipif(not (DATA / "wnut17").is_dir(), reason="the folder with real data is not beside this checkout")
def test_real_named_entities_build(ray_up: str, backbone: Path, tmp_path: Path) -> None:
    sources = [{"uri": str(DATA / f"wnut17/{split}.parquet"), "split": split} for split in SPLITS]
    section = CorpusSection.model_validate({"sources": sources})
    task = make(TokenClassificationSection(type="token-classification", tags="ner"), str(backbone), 128)
    corpus = build(prepare("wnut17", "entities", section, task, backbone), tmp_path, Progress())
    funnel, splits = corpus.manifest.funnel, corpus.manifest.splits
    kinds = ("corporation", "creative-work", "group", "location", "person", "product")
    assert corpus.manifest.labels == ["O", *(f"B-{kind}" for kind in kinds), *(f"I-{kind}" for kind in kinds)]
    assert funnel.read == 3394 + 1009 + 1287 == funnel.duplicates + funnel.quarantined + funnel.samples
    first = next(Reader(corpus, "train", 0).once())
    assert len(first.label) == len(first.input_ids)
    assert splits["test"].labels["B-person"] > 350
    assert check(corpus) == []
