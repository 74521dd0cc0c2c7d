"""Near duplicates: every pair at the threshold is found, nothing below it goes, and who stays is decided by content."""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import ROOT
from hypothesis import given
from hypothesis import strategies as st

from gb_ray.corpus.near import lsh, near
from gb_ray.corpus.near.shingles import jaccard, shingles
from gb_ray.corpus.stages import tables

DATA = ROOT.parent / "shared" / "data"
THRESHOLD = 0.7
BASE = "the minister of energy spoke to the parliament about the new plan for power lines and answered {} questions"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"the real texts are not at {DATA}")


def load_benchmark() -> Any:
    """The benchmark, whose real texts, planted copies and exact truth serve here for a smaller sample."""
    spec = importlib.util.spec_from_file_location("near_duplicates", ROOT / "benchmarks" / "near_duplicates.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


bench = load_benchmark()


def id_of(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def buckets_of(folder: Path, split_of: dict[str, str], count: int = 3) -> list[Path]:
    return list(bench.write_buckets(folder, split_of, THRESHOLD, count))


def outcome(paths: list[Path], mode: Any = "remove") -> dict[str, int]:
    """The flag of each text."""
    removed = near.find(paths, THRESHOLD, mode)
    texts = [tables.read(path)["text"].to_pylist() for path in paths]
    assert [len(flags) for flags in removed.flags] == [len(one) for one in texts]
    return dict(zip(itertools.chain(*texts), np.concatenate(removed.flags).tolist(), strict=True))


@needs_data
def test_every_real_pair_at_the_threshold_is_a_candidate_and_translations_are_none() -> None:
    sample = bench.plant(bench.originals(DATA, 60, seed=3), seed=3)
    wanted = bench.truth(sample.texts, THRESHOLD)
    assert len(wanted) > 300
    assert bench.verified(sample.texts, THRESHOLD) == wanted
    sentences = bench.originals(DATA, 300, seed=0)
    del sentences["speeches"], sentences["banking77"]
    assert bench.truth([text for group in sentences.values() for text in group], THRESHOLD) == set()


@needs_data
def test_clusters_of_real_texts_are_those_of_exact_similarity(ray_up: str, tmp_path: Path) -> None:
    sample = bench.plant(bench.originals(DATA, 60, seed=5), seed=5)
    clusters = near.Forest(len(sample.texts))
    for one, other in bench.truth(sample.texts, THRESHOLD):
        clusters.join(one, other)
    stay: dict[int, str] = {}
    for row, text in enumerate(sample.texts):
        root = clusters.root(row)
        stay[root] = min(stay.get(root, text), text, key=id_of)
    found = outcome(buckets_of(tmp_path / "b", dict.fromkeys(sample.texts, "train")))
    assert {text for text, flag in found.items() if flag == near.STAYS} == set(stay.values())
    assert near.LEAK not in found.values()


@needs_data
def test_the_buckets_and_the_tasks_change_nothing(ray_up: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = bench.plant(bench.originals(DATA, 30, seed=7), seed=7)
    rows = {text: ("train", "validation", "test")[len(text) % 3] for text in sample.texts}
    one, many = buckets_of(tmp_path / "one", rows, 1), buckets_of(tmp_path / "many", rows, 7)
    first = outcome(one)
    assert set(first.values()) == {near.STAYS, near.NEAR_DUPLICATE, near.LEAK}
    assert outcome(many) == first
    assert outcome(many[::-1]) == first
    monkeypatch.setattr(near, "TASK_ROWS", 300)
    monkeypatch.setattr(near, "PART_ROWS", 100)
    assert outcome(one) == first
    examples = [near.find(paths, THRESHOLD, "remove").examples for paths in (one, many)]
    assert examples[0] == examples[1] != []


SPLITS = ["train", "train", "validation", "test", "train", "validation"]


def test_the_most_protected_row_stays_and_what_it_forbids_is_a_leak(ray_up: str, tmp_path: Path) -> None:
    cluster = {BASE.format(number): split for number, split in enumerate(SPLITS)}
    rows = cluster | {"quite another text about rivers and wells": "train", "and one more, on vaccines": "test"}
    paths = buckets_of(tmp_path / "b", rows)
    expected = {text: near.STAYS if split == "test" else near.LEAK for text, split in cluster.items()}
    assert outcome(paths) == dict.fromkeys(rows, near.STAYS) | expected
    assert outcome(paths, "leaks") == outcome(paths)


def test_of_one_split_the_smallest_id_stays_and_no_leak_is_seen(ray_up: str, tmp_path: Path) -> None:
    rows = {BASE.format(number): "test" for number in range(6)}
    paths = buckets_of(tmp_path / "b", rows)
    found = outcome(paths)
    smallest = min(rows, key=id_of)
    assert found == dict.fromkeys(rows, near.NEAR_DUPLICATE) | {smallest: near.STAYS}
    assert set(outcome(paths, "leaks").values()) == {near.STAYS}


def test_the_examples_name_both_rows_and_how_alike_they_are(ray_up: str, tmp_path: Path) -> None:
    rows = {BASE.format(number): "train" for number in range(40)} | {"a text of its own": "train"}
    examples = near.find(buckets_of(tmp_path / "b", rows), THRESHOLD, "remove").examples
    ids = sorted(id_of(text) for text in rows if text.startswith("the minister"))
    of = {id_of(text): shingles(text) for text in rows}
    assert [(one.removed, one.kept) for one in examples] == [(id, ids[0]) for id in ids[1:21]]
    assert [one.jaccard for one in examples] == [jaccard(of[id], of[ids[0]]) for id in ids[1:21]]


def test_boilerplate_of_thousands_of_rows_leaves_one(ray_up: str, tmp_path: Path) -> None:
    found = outcome(buckets_of(tmp_path / "b", {f"{BASE.format(i)} in {i * 7}": "train" for i in range(4000)}))
    assert list(found.values()).count(near.STAYS) == 1


@pytest.mark.parametrize("texts", [[], ["alone"], ["one text on rivers", "and another on the power grid"]])
def test_where_nothing_is_alike_nothing_goes(ray_up: str, texts: list[str], tmp_path: Path) -> None:
    paths = buckets_of(tmp_path / "b", dict.fromkeys(texts, "train"))
    assert outcome(paths) == dict.fromkeys(texts, near.STAYS)
    assert near.find(paths, THRESHOLD, "remove").examples == []


@given(st.integers(1, 40).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.tuples(*[st.integers(0, n - 1)] * 2)))))
def test_a_forest_has_the_clusters_of_its_pairs(drawn: tuple[int, list[tuple[int, int]]]) -> None:
    rows, pairs = drawn
    forest = near.Forest(rows)
    clusters = [{row} for row in range(rows)]
    for one, other in pairs:
        forest.join(one, other)
        union = clusters[one] | clusters[other]
        for row in union:
            clusters[row] = union
    found, roots = forest.clusters()
    assert found.tolist() == [row for row in range(rows) if len(clusters[row]) > 1]
    assert roots.tolist() == [min(clusters[row]) for row in found.tolist()]


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0])
def test_a_pair_at_the_threshold_is_missed_once_in_a_thousand(threshold: float) -> None:
    """Of so many pairs of sets with just this similarity."""
    bands, slots = lsh.layout(threshold)
    assert 1 <= bands * slots <= lsh.SLOTS
    rng = np.random.default_rng(0)
    size, pairs = 190, 3000
    shared = round(2 * size * threshold / (1 + threshold))
    drawn = rng.integers(0, 2**64, (pairs, 2 * size - shared), np.uint64)
    offsets = np.arange(pairs + 1) * size
    one, other = (lsh.signatures(part.reshape(-1), offsets) for part in (drawn[:, :size], drawn[:, size - shared :]))
    equal = one == other
    assert abs(equal.mean() - threshold) < 0.01
    found = equal[:, : bands * slots].reshape(pairs, bands, slots).all(axis=2).any(axis=1)
    assert found.mean() > 0.997


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20), max_size=4))
def test_the_bands_of_a_text_do_not_depend_on_those_beside_it(texts: list[str]) -> None:
    found = lsh.bands(texts, THRESHOLD)
    assert found.dtype == np.uint64
    assert found.shape == (len(texts), lsh.layout(THRESHOLD)[0])
    assert found.tolist() == [lsh.bands([text], THRESHOLD)[0].tolist() for text in texts]


@given(st.lists(st.integers(0, 2), max_size=30), st.randoms(use_true_random=False))
def test_rows_with_a_key_in_common_are_paired_and_no_others(keys: list[int], random: Any) -> None:
    rows = np.array(random.sample(range(1000), len(keys)), np.uint32)
    others = np.array([random.randrange(3) for _ in keys], np.uint64)
    found = lsh.pairs(rows, rows.astype(np.uint64), np.array(keys, np.uint64), others)
    pairs = {(int(pair) >> 32, int(pair) & 0xFFFFFFFF) for pair in found}
    assert len(pairs) == len(found)
    together = [rows[[i for i, key in enumerate(keys) if key == value]].tolist() for value in set(keys)]
    allowed = {(min(pair), max(pair)) for run in together for pair in itertools.combinations(run, 2)}
    assert pairs <= allowed
    for run in together:
        everyone = {pair for pair in allowed if pair[0] in run}
        star = {(min(run), row) for row in run if row != min(run)}
        assert (everyone if len(run) <= lsh.NEIGHBOURS + 1 else star) <= pairs


@pytest.mark.parametrize("seed", range(20))
def test_a_run_of_neighbours_is_compared_all_with_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = lsh.NEIGHBOURS + 1
    rows = np.arange(size, dtype=np.uint32)
    found = lsh.pairs(rows, rng.permutation(size).astype(np.uint64), np.zeros(size, np.uint64), rng.permutation(size))
    assert len(found) == size * (size - 1) // 2


def test_a_run_of_a_hundred_thousand_rows_gives_pairs_in_proportion() -> None:
    rows = np.arange(100_000, dtype=np.uint32)
    found = lsh.pairs(rows, rows.astype(np.uint64), np.zeros(100_000, np.uint64), rows.astype(np.uint64) % np.uint64(7))
    assert len(found) <= 100_000 * (1 + lsh.NEIGHBOURS)
