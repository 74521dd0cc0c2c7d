"""Which split of a corpus a row is in: exact shares, groups and times kept apart, whatever files the rows came in."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from builds import LABELS, PLAIN, SPLITS, ids_on_disk, jsonl, plan_of, row, rows_on_disk

from gb_ray.corpus.build import build
from gb_ray.corpus.corpus import Corpus
from gb_ray.corpus.stages.read import Reading
from gb_ray.progress import Progress


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


def test_from_groups_to_times_of_one_column_the_rows_are_read_again(backbone: Path, tmp_path: Path) -> None:
    sources = [{"uri": str(jsonl(tmp_path / "rows.jsonl", [entry | {"year": 2000} for entry in PLAIN[:9]]))}]

    def kept_under(by: str) -> str:
        plan = plan_of(backbone, sources, splits={"by": by, "column": "year"})
        (source,) = plan.sources
        (piece,) = source.pieces(whole_files=False)
        return Reading(source, piece, plan.encoder, plan.section, plan.code).name

    assert kept_under("group") != kept_under("time")


def test_a_row_with_a_given_split_needs_no_group(ray_up: str, backbone: Path, tmp_path: Path) -> None:
    grouped = [entry | {"document": i} for i, entry in enumerate(PLAIN[:60])]
    sources = [
        {"uri": str(jsonl(tmp_path / "grouped.jsonl", grouped))},
        {"uri": str(jsonl(tmp_path / "given.jsonl", PLAIN[60:90])), "split": "test"},
    ]
    plan = plan_of(backbone, sources, splits={"by": "group", "column": "document"})
    corpus = build(plan, tmp_path / "home", Progress())
    assert (corpus.manifest.funnel.quarantined, corpus.manifest.funnel.samples) == (0, 90)
    assert {entry["text"] for entry in PLAIN[60:90]} <= {entry["text"] for entry in rows_on_disk(corpus, "test")}


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
