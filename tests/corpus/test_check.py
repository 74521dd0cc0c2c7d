"""What was damaged, miscounted or added to a corpus is found and named."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from s3 import serve
from synthetic import make_corpus

from gb_ray.corpus.catalogue import balance, damage
from gb_ray.corpus.catalogue.check import check
from gb_ray.corpus.corpus import Corpus, seal
from gb_ray.corpus.manifest import Manifest
from gb_ray.section import UserError

COLUMNS = ["id", "text", "source", "language", "input_ids", "label"]
BESIDE = ["README.md", "left-out/part-00000.jsonl", "manifest.json"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Two strata and two splits in two lanes; its tests leave it as it was."""
    path = tmp_path_factory.mktemp("check") / "c"
    return make_corpus(path, {"train": [(1.0, 110), (2.0, 31)], "test": [(1.0, 25)]}, lanes=2, shard_rows=20)


def shards(corpus: Corpus) -> list[str]:
    return [shard.path for split in corpus.manifest.splits.values() for shard in split.shards]


def named(faults: list[str]) -> set[str]:
    """The files that faults begin with."""
    return {fault.partition(": ")[0] for fault in faults}


def hurt(corpus: Corpus, draw: random.Random) -> set[str]:
    """Damage the corpus; returns the names of the files that are damaged."""
    files = shards(corpus) + BESIDE
    name = draw.choice([draw.choice(shards(corpus)), draw.choice(BESIDE)])
    file = corpus.path / name
    content = file.read_bytes()
    kind = draw.choice(["cut", "flip", "flip", "delete", "empty", "swap"])
    if kind == "cut":
        file.write_bytes(content[: draw.randrange(len(content))])
    elif kind == "flip":
        # The manifest's key says where it was built and nothing of what is in it: its digest leaves it out.
        key = content.find(b'"key"'), content.find(b'"task"')
        places = [i for i in range(len(content)) if name != "manifest.json" or not key[0] <= i < key[1]]
        place = draw.choice(places)
        file.write_bytes(content[:place] + bytes([content[place] ^ 1 << draw.randrange(8)]) + content[place + 1 :])
    elif kind == "delete":
        file.unlink()
    elif kind == "empty":
        file.write_bytes(b"")
    else:
        other = draw.choice([other for other in files if other != name])
        file.write_bytes((corpus.path / other).read_bytes())
        (corpus.path / other).write_bytes(content)
        return {name, other}
    return {name}


def found(path: Path) -> set[str]:
    """The files that opening and checking name."""
    try:
        return named(check(Corpus.open(path)))
    except UserError as error:
        assert f"{path}: not a corpus" in str(error) or f"{path / 'manifest.json'}: " in str(error)
        return {"manifest.json"}


@pytest.mark.parametrize("seed", range(10))
def test_any_damage_is_found_and_the_right_file_named(corpus: Corpus, seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    for _ in range(20):
        copy = tmp_path / "copy"
        shutil.copytree(corpus.path, copy)
        damaged = hurt(Corpus.open(copy), draw)
        # Without its manifest there is nothing to say of the rest.
        assert found(copy) == ({"manifest.json"} if "manifest.json" in damaged else damaged)
        shutil.rmtree(copy)
    assert check(corpus) == []


@settings(max_examples=60)
@given(data=st.data())
def test_of_a_damaged_shard_the_column_is_named(corpus: Corpus, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(shards(corpus)))
    column = data.draw(st.sampled_from(COLUMNS))
    file = corpus.path / name
    content = bytearray(file.read_bytes())
    chunk = pq.read_metadata(file).row_group(0).column(COLUMNS.index(column))
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    # The last bytes of a column's chunk are its last page's values, not a page's head, which no checksum covers.
    place = start + chunk.total_compressed_size - 1 - data.draw(st.integers(0, 3))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    with changed(file, bytes(content)):
        (fault,) = check(corpus)
    assert fault.startswith(f"{name}: sha256 is ")
    assert fault.endswith(f"; row group 0, column {column} cannot be read")


class changed:
    """A file with other content, for a while."""

    def __init__(self, file: Path, content: bytes):
        self.file, self.content, self.before = file, content, file.read_bytes()

    def __enter__(self) -> None:
        self.file.write_bytes(self.content)

    def __exit__(self, *error: object) -> None:
        self.file.write_bytes(self.before)


def test_the_row_group_is_named_and_a_damaged_footer_told_from_damaged_columns() -> None:
    sink = pa.BufferOutputStream()
    table = pa.table({"a": list(range(1000, 1100)), "b": [f"text {i * i}" for i in range(100)]})
    pq.write_table(table, sink, row_group_size=40, write_page_checksum=True)
    content = sink.getvalue().to_pybytes()
    metadata = pq.read_metadata(pa.BufferReader(content))

    def flipped(*places: int) -> str:
        damaged = bytearray(content)
        for place in places:
            damaged[place] ^= 1
        return damage.locate(pa.py_buffer(bytes(damaged)))

    ends = []
    for group, column in ((1, 0), (2, 1)):
        chunk = metadata.row_group(group).column(column)
        ends.append((chunk.dictionary_page_offset or chunk.data_page_offset) + chunk.total_compressed_size - 1)
    assert flipped(ends[0]) == "row group 1, column a cannot be read"
    assert flipped(*ends) == "row group 1, column a; row group 2, column b cannot be read"
    assert flipped(len(content) - 1) == "the footer does not read"
    assert flipped(0) == "every column reads: footer or padding is damaged"
    assert damage.locate(pa.py_buffer(b"")) == "the footer does not read"


def test_the_faults_of_several_files_are_all_there_in_the_order_of_the_manifest(corpus: Corpus) -> None:
    first, second = shards(corpus)[:2]
    one, other = ((corpus.path / name).read_bytes() for name in (first, second))
    with changed(corpus.path / first, other), changed(corpus.path / second, one):
        assert check(corpus) == [f"{first}: holds what belongs in {second}", f"{second}: holds what belongs in {first}"]


def test_files_that_the_manifest_does_not_know_are_named(corpus: Corpus, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(corpus.path, copy)
    (copy / "manifest.json.part").write_text("{")
    (copy / "train" / "stratum-0" / "extra.parquet").touch()
    (copy / "link").symlink_to(tmp_path / "nowhere")
    extra = ["link", "manifest.json.part", "train/stratum-0/extra.parquet"]
    assert check(Corpus.open(copy)) == [f"{name}: not in the manifest" for name in extra]


UNSEEN = {"window_shards", "repaired", "conflicting", "format"}
"""Numbers of the manifest that nothing else of the corpus says again."""


def numbers(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of the integers in a JSON value."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from numbers(inner, (*path, key))
    elif isinstance(value, int) and not isinstance(value, bool):
        yield path


def test_every_count_of_the_manifest_is_checked(corpus: Corpus) -> None:
    """One more of anything, and the manifest sealed again, is a fault."""
    paths = [path for path in numbers(corpus.manifest.model_dump(mode="json")) if path[0] != "section"]
    paths = [path for path in paths if not UNSEEN & set(path) and not {"sources", "files"} <= set(path)]
    assert len(paths) > 80
    for path in paths:
        content = corpus.manifest.model_dump(mode="json")
        place = content
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] += 1
        faults = check(Corpus(corpus.path, Manifest.model_validate(content).sealed()))
        assert faults, path


def test_a_shard_in_the_wrong_lane_is_a_fault(corpus: Corpus) -> None:
    content = corpus.manifest.model_dump(mode="json")
    lanes = content["splits"]["train"]["strata"][0]["shards"]
    lanes[0].append(lanes[1].pop())
    faults = balance.faults(Manifest.model_validate(content))
    assert named(faults) == {"manifest.json"}
    assert any("train/stratum-0/lane-00001: rows: 40, expected 55" in fault for fault in faults)


def test_rows_left_out_are_counted_by_reason(corpus: Corpus, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(corpus.path, copy)
    reasons = {"text is null": 1}
    funnel = corpus.manifest.funnel.model_copy(update={"reasons": reasons})
    again = seal(copy, corpus.manifest.model_copy(update={"funnel": funnel}))
    assert check(again) == [
        "manifest.json: funnel: text is empty: 0, expected 1 by the rows in left-out",
        "manifest.json: funnel: text is null: 1, expected 0 by the rows in left-out",
    ]


def test_a_corpus_in_an_object_store_is_checked_as_well(corpus: Corpus, tmp_path: Path) -> None:
    shutil.copytree(corpus.path, tmp_path / "bucket" / "c")
    with serve(tmp_path) as server:
        there = Corpus.open(server.uri("bucket/c"))
        assert check(there) == []
        (tmp_path / "bucket" / "c" / "more").write_text("x")
        (tmp_path / "bucket" / "c" / "README.md").unlink()
        assert check(there) == ["README.md: missing", "more: not in the manifest"]
