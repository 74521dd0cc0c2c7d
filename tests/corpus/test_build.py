"""A corpus: every row accounted for, the same bytes whenever it is built, and whole or not there at all."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

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

ROOT = Path(__file__).parent.parent.parent
DATA = ROOT.parent / "shared" / "data"
SPLITS = ("train", "validation", "test")
LABELS = ("energy", "health", "water")
LANES, SHARD_ROWS = 4, 16


def jsonl(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def row(text: Any, label: Any) -> dict[str, Any]:
    return {"text": text, "label": label}


def plan_of(backbone: Path, sources: list[dict[str, Any]], **keys: Any) -> Plan:
    splits = {"by": "stratified"} | keys.pop("splits", {})
    layout = {"lanes": LANES, "shard_rows": SHARD_ROWS, "window_shards": 2, "splits": splits} | keys
    section = CorpusSection.model_validate({"sources": sources, **layout})
    task = SequenceClassificationSection(type="sequence-classification")
    return prepare("nasty", "topic", section, make(task, str(backbone), 16, section.min_chars), backbone)


def ids_on_disk(corpus: Corpus, split: str) -> list[str]:
    """The ids of a split in global order, from the files alone."""
    lanes = [
        [id for shard in lane for id in pq.read_table(corpus.path / shard.path)["id"].to_pylist()]
        for lane in corpus.manifest.splits[split].strata[0].shards
    ]
    total = sum(map(len, lanes))
    return [lanes[g % len(lanes)][g // len(lanes)] for g in range(total)]


def rows_on_disk(corpus: Corpus, split: str) -> list[dict[str, Any]]:
    return [
        row
        for shard in corpus.manifest.splits[split].shards
        for row in pq.read_table(corpus.path / shard.path).to_pylist()
    ]


def tree(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


PLAIN = [row(f"{label} text number {i}", label) for i in range(100) for label in LABELS]
"""300 rows, 100 a label, none twice."""


def nasty_sources(folder: Path) -> list[dict[str, Any]]:
    """Two files that are split by hash, and one file each given to train and to test."""
    jsonl(
        folder / "one.jsonl",
        [
            *PLAIN[:150],
            row(None, "water"),  # 150
            row("a nul \x00 in it", "water"),
            row("no label", None),
            row("blank label", "  "),
            row("", "water"),
            row(7, "water"),  # 155
            "{not json",
            "[1]",
            {"label": "water"},
            '{"text": "half a pair \\ud800", "label": "water"}',
            '{"text": "a label of half a pair", "label": "\\ud800"}',  # 160
            row("a list", ["water"]),
            PLAIN[0],  # 162: a duplicate inside the file
            row("  energy   text number\t0 ", "energy"),  # the same once cleaned
            row(PLAIN[1]["text"], "water"),  # with another label
            row("of another language", "water") | {"lang": "fr"},  # 165: filtered
        ],
    )
    jsonl(folder / "two.jsonl", [*PLAIN[150:], PLAIN[2], row(PLAIN[3]["text"], "water")])
    jsonl(folder / "train.jsonl", [row("leaks from train to test", "water"), row("given to train", "water"), PLAIN[5]])
    jsonl(folder / "test.jsonl", [row("leaks from train to test", "water"), row("given to test", "health"), PLAIN[4]])
    # A row without `lang` is kept by no filter on it, so only the first file has one.
    lines = (folder / "one.jsonl").read_text().splitlines()
    marked = [line.replace("{", '{"lang": "en", ', 1) if '"lang"' not in line else line for line in lines]
    marked[156] = "{not json"
    (folder / "one.jsonl").write_text("\n".join(marked) + "\n")
    return [
        {"uri": str(folder / "one.jsonl"), "where": {"lang": "en"}},
        {"uri": str(folder / "two.jsonl")},
        {"uri": str(folder / "train.jsonl"), "split": "train"},
        {"uri": str(folder / "test.jsonl"), "split": "test"},
    ]


QUARANTINED = {
    150: "text is null",
    151: "text has a NUL character",
    152: "label is null",
    153: "label is empty",
    154: "text is empty",
    155: "text is int, expected text",
    156: "not JSON",
    157: "not a JSON object",
    158: "no key 'text'",
    159: "text is not UTF-8",
    160: "label is not UTF-8",
    161: "label is list, expected text",
}


@pytest.fixture(scope="module")
def nasty(ray_up: str, backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Corpus, Path]:
    """(plan, corpus, home)"""
    folder = tmp_path_factory.mktemp("nasty")
    plan = plan_of(backbone, nasty_sources(folder))
    return plan, build(plan, folder / "home", Progress()), folder / "home"


@pytest.fixture
def corpus(nasty: tuple[Plan, Corpus, Path]) -> Corpus:
    return nasty[1]


@pytest.fixture(scope="module")
def plain(ray_up: str, backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """The plain rows from one file."""
    folder = tmp_path_factory.mktemp("plain")
    uri = str(jsonl(folder / "all.jsonl", PLAIN))
    return build(plan_of(backbone, [{"uri": uri}]), folder / "home", Progress())


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


def left_out(path: Path) -> list[dict[str, Any]]:
    files = sorted((path / "left-out").glob("part-*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]


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
    order = Order(corpus.manifest.digest, 1, len(ids), LANES, SHARD_ROWS, 2)
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


def test_splits_take_their_exact_share_of_every_label(plain: Corpus) -> None:
    found = {split: plain.manifest.splits[split].labels for split in SPLITS}
    shares = {"train": 70, "validation": 10, "test": 20}
    assert found == {split: dict.fromkeys(LABELS, share) for split, share in shares.items()}


def test_the_samples_of_each_split_do_not_depend_on_the_files_they_came_in(
    plain: Corpus, backbone: Path, tmp_path: Path
) -> None:
    halves = [jsonl(tmp_path / "b.jsonl", PLAIN[101:]), jsonl(tmp_path / "a.jsonl", PLAIN[:101][::-1])]
    other = build(plan_of(backbone, [{"uri": str(half)} for half in halves]), tmp_path / "home", Progress())
    for split in SPLITS:
        assert ids_on_disk(other, split) == ids_on_disk(plain, split)


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


@pytest.mark.parametrize(
    ("rows", "keys", "said"),
    [
        ([*PLAIN[:9], row(None, "water")], {}, r"10.0% of 10 rows were quarantined \(1 x text is null\)"),
        (PLAIN[:6], {"splits": {"validation": 0.0, "test": 0.9}}, "no row is left to train on"),
        (PLAIN[::3], {}, "every row has the label 'energy'"),
    ],
)
def test_a_build_that_fails_says_why_and_leaves_nothing_that_passes_for_a_corpus(
    ray_up: str, rows: list[Any], keys: dict[str, Any], said: str, backbone: Path, tmp_path: Path
) -> None:
    plan = plan_of(backbone, [{"uri": str(jsonl(tmp_path / "rows.jsonl", rows))}], **keys)
    with pytest.raises(UserError, match=said):
        build(plan, tmp_path, Progress())
    assert list(tmp_path.rglob("manifest.json")) == []
    (left,) = (tmp_path / "corpora").glob("*.failed")
    assert {path.suffix for path in (tmp_path / "corpora").iterdir()} == {".failed", ".parts"}
    assert len(left_out(left)) == rows.count(row(None, "water"))


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


def test_by_hash_no_row_changes_its_split_when_the_data_grow(ray_up: str, backbone: Path, tmp_path: Path) -> None:
    def splits(rows: list[Any], name: str) -> dict[str, str]:
        plan = plan_of(backbone, [{"uri": str(jsonl(tmp_path / name, rows))}], splits={"by": "hash"})
        corpus = build(plan, tmp_path / "home", Progress())
        return {id: split for split in SPLITS for id in ids_on_disk(corpus, split)}

    few, many = splits(PLAIN[:100], "few.jsonl"), splits(PLAIN, "many.jsonl")
    assert few.items() <= many.items()
    shares = Counter(many.values())
    assert 0.6 < shares["train"] / 300 < 0.8 and shares["validation"] > 15 and shares["test"] > 35


def test_no_group_is_in_two_splits(ray_up: str, backbone: Path, tmp_path: Path) -> None:
    rows = [entry | {"document": i // 7} for i, entry in enumerate(PLAIN)]
    rows[5]["document"] = None
    sources = [{"uri": str(jsonl(tmp_path / "rows.jsonl", rows))}]
    plan = plan_of(backbone, sources, splits={"by": "group", "column": "document"})
    corpus = build(plan, tmp_path / "home", Progress())
    document = {entry["text"]: entry["document"] for entry in rows}
    found = [{document[entry["text"]] for entry in rows_on_disk(corpus, split)} for split in SPLITS]
    assert all(found) and not (found[0] & found[1] or found[0] & found[2] or found[1] & found[2])
    assert corpus.manifest.funnel.reasons == {"document is missing": 1}


@pytest.mark.parametrize("form", ["{}", "{}-05-01", "{}-05-01T10:00:00"])
def test_by_time_the_latest_rows_are_tested_on(form: str, ray_up: str, backbone: Path, tmp_path: Path) -> None:
    rows = [entry | {"when": form.format(2000 + i // 30)} for i, entry in enumerate(PLAIN)]
    sources = [{"uri": str(jsonl(tmp_path / "rows.jsonl", rows))}]
    plan = plan_of(backbone, sources, splits={"by": "time", "column": "when"})
    corpus = build(plan, tmp_path / "home", Progress())
    when = {entry["text"]: entry["when"][:4] for entry in rows}
    found = {split: {when[entry["text"]] for entry in rows_on_disk(corpus, split)} for split in SPLITS}
    assert found == {
        "train": {str(year) for year in range(2000, 2007)},
        "validation": {"2007"},
        "test": {"2008", "2009"},
    }


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
        row("word " * 100, "water"),
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
    assert sum(entry.languages["en"] for entry in corpus.manifest.splits.values()) == 62


@pytest.mark.parametrize(("near", "gone"), [("keep", (0, 0)), ("leaks", (0, 2)), ("remove", (1, 2))])
def test_near_duplicates_leave_train_and_what_is_tested_on_stays(
    near: str, gone: tuple[int, int], ray_up: str, backbone: Path, tmp_path: Path
) -> None:
    others = [row(hashlib.sha256(str(i).encode()).hexdigest(), LABELS[i % 3]) for i in range(60)]
    long = "the river rose over its banks and the pump of the village stood under water for nine days in spring"
    nurse = "the nurse of the clinic gave a vaccine to every child of the village on a monday "
    train = [*others[3:], row(long, "water"), row(long + " again", "water")]
    train += [row(nurse + end, "health") for end in ("morning", "evening")]
    sources = [
        {"uri": str(jsonl(tmp_path / "train.jsonl", train)), "split": "train"},
        {"uri": str(jsonl(tmp_path / "test.jsonl", [row(long.upper(), "water"), *others[:3]])), "split": "test"},
    ]
    plan = plan_of(backbone, sources, duplicates={"near": near, "similarity": 0.7})
    corpus = build(plan, tmp_path / "home", Progress())
    funnel = corpus.manifest.funnel
    assert (funnel.near_duplicates, funnel.leaks) == gone
    assert long.upper() in {entry["text"] for entry in rows_on_disk(corpus, "test")}


def test_the_text_is_kept_only_if_asked_for(ray_up: str, backbone: Path, tmp_path: Path) -> None:
    sources = [{"uri": str(jsonl(tmp_path / "rows.jsonl", PLAIN))}]
    corpus = build(plan_of(backbone, sources, keep_text=False), tmp_path / "home", Progress())
    assert set(rows_on_disk(corpus, "train")[0]) == {"id", "source", "language", "input_ids", "label"}


def test_a_source_may_call_a_column_by_another_name(ray_up: str, backbone: Path, tmp_path: Path) -> None:
    rows = [{"body": entry["text"], "topic": entry["label"]} for entry in PLAIN[:30]]
    sources = [{"uri": str(jsonl(tmp_path / "rows.jsonl", rows)), "columns": {"text": "body", "label": "topic"}}]
    assert build(plan_of(backbone, sources), tmp_path / "home", Progress()).manifest.funnel.samples == 30


BUILD = """
import json, sys
from pathlib import Path
from gb_ray import machine
from gb_ray.corpus.build import build
from gb_ray.corpus.plan import prepare
from gb_ray.corpus.section import CorpusSection
from gb_ray.progress import Progress
from gb_ray.tasks.section import SequenceClassificationSection
from gb_ray.tasks.task import make
address, uri, backbone, home = sys.argv[1:]
section = CorpusSection(
    sources=[{"uri": uri}], lanes=4, shard_rows=16, window_shards=2, splits={"by": "stratified"}
)
task = make(SequenceClassificationSection(type="sequence-classification"), backbone, 16)
with machine.ray_up(address):
    build(prepare("nasty", "topic", section, task, Path(backbone)), Path(home), Progress())
"""


def kill_a_build(head: dict[str, str], uri: str, backbone: Path, home: Path, when: Callable[[], bool]) -> None:
    """Start a build and kill it with SIGKILL as soon as `when` says so, or let it end."""
    command = [sys.executable, "-c", BUILD, head["address"], uri, str(backbone), str(home)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 60
    while not when() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(15)


def test_a_build_that_is_killed_leaves_no_corpus_and_the_next_one_goes_on(
    head: dict[str, str], plain: Corpus, backbone: Path, tmp_path: Path
) -> None:
    uri, home = plain.manifest.sources[0].uri, tmp_path / "home"
    kill_a_build(head, uri, backbone, home, lambda: bool(list(home.glob("corpora/*.building/bucket-*/result.json"))))
    plan = plan_of(backbone, [{"uri": uri}])
    assert not plan.path(home).exists()
    with pytest.raises(UserError, match="no corpus"):
        Corpus.find(home, plain.manifest.digest)
    assert build(plan, home, Progress()).manifest.digest == plain.manifest.digest
    assert not list(home.glob("corpora/*.building"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_stops_a_build_and_leaves_the_corpus_that_was_there(
    ray_up: str, backbone: Path, tmp_path: Path, small_disk: Path
) -> None:
    few = build(plan_of(backbone, [{"uri": str(jsonl(tmp_path / "few.jsonl", PLAIN[:30]))}]), small_disk, Progress())
    many = [row(f"{'x' * 1000} {i}", "water" if i % 2 else "health") for i in range(3000)]
    plan = plan_of(backbone, [{"uri": str(jsonl(tmp_path / "many.jsonl", many))}])
    with pytest.raises(UserError, match=r"the disk is full: .*; free some space"):
        build(plan, small_disk, Progress())
    assert not plan.path(small_disk).exists()
    assert check(Corpus.open(few.path)) == []


@pytest.mark.chaos
def test_twenty_builds_killed_at_random_moments_all_end_in_the_same_bytes(
    head: dict[str, str], ray_up: str, plain: Corpus, backbone: Path, tmp_path: Path
) -> None:
    uri = plain.manifest.sources[0].uri
    began = time.monotonic()
    kill_a_build(head, uri, backbone, tmp_path / "undisturbed", lambda: False)
    whole = time.monotonic() - began
    for number in range(20):
        home = tmp_path / str(number)
        after = time.monotonic() + random.uniform(0.3, 1) * whole
        kill_a_build(head, uri, backbone, home, lambda after=after: time.monotonic() > after)
        found = build(plan_of(backbone, [{"uri": uri}]), home, Progress())
        assert found.manifest.digest == plain.manifest.digest
        assert check(found) == []
        assert tree(found.path) == tree(plain.path)


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
