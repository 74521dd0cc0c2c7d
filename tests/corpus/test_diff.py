"""`gb corpus diff` names what two corpora differ in, down to their rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from synthetic import make_corpus

from gb_ray.corpus.catalogue import diff, ids, rows
from gb_ray.corpus.corpus import Corpus, seal
from gb_ray.corpus.manifest import Manifest
from gb_ray.progress import Progress

WIDTH = 100


def resealed(path: Path, **changes: Any) -> Corpus:
    """The corpus at `path` with another manifest."""
    return seal(path, Corpus.open(path).manifest.model_copy(update=changes))


def fits(lines: list[str]) -> None:
    assert not [line for line in lines if cell_len(line) > WIDTH or "\n" in line]


def test_a_corpus_and_its_copy_are_equal(climate: Corpus, climate_copy: Path) -> None:
    account = diff.diff(climate, Corpus.open(climate_copy), Progress())
    assert account["equal"]
    assert account["rows"]["both"] == 166
    assert account["rows"]["only_a"] == account["rows"]["only_b"] == 0
    changes = [account[what] for what in ("task", "section", "funnel", "splits", "labels", "languages")]
    assert not any([*changes, *account["sources"].values(), *account["rows"]["examples"].values()])
    assert diff.lines(account) == [f"the two corpora are the same: digest {climate.manifest.digest}"]


def moved_about(manifest: Manifest) -> dict[str, Any]:
    """Stratum 1 of train is now the validation split, and the test split is gone."""
    train, nothing = manifest.splits["train"], manifest.splits["validation"]
    first, second = train.strata
    splits = {
        "train": train.model_copy(update={"strata": [first], "samples": first.samples}),
        "validation": train.model_copy(update={"strata": [second], "samples": second.samples}),
        "test": nothing,
    }
    return {"splits": splits, "funnel": manifest.funnel.model_copy(update={"samples": 141, "leaks": 25})}


def test_rows_that_left_came_and_moved_are_counted_and_shown(climate: Corpus, climate_copy: Path) -> None:
    other = resealed(climate_copy, **moved_about(climate.manifest))
    account = diff.diff(climate, other, Progress())
    found = account["rows"]
    assert not account["equal"]
    assert (found["both"], found["only_a"], found["only_b"]) == (141, 25, 0)
    assert found["moved"] == {"train to validation": 31}
    texts = {row["text"] for row in rows.first(climate, "test", 10)}
    assert {example["fields"]["text"] for example in found["examples"]["only_a"]} <= texts
    assert {kind: len(examples) for kind, examples in found["examples"].items()} == {
        "only_a": 5,
        "only_b": 0,
        "moved": 5,
    }
    assert {example["source"] for example in found["examples"]["moved"]} == {1}
    back = diff.diff(other, climate, Progress())["rows"]
    assert (back["both"], back["only_a"], back["only_b"]) == (141, 0, 25)
    assert back["moved"] == {"validation to train": 31}
    assert [row["id"] for row in back["examples"]["only_b"]] == [row["id"] for row in found["examples"]["only_a"]]
    assert account["funnel"] == {"leaks": [0, 25], "samples": [166, 141]}
    assert account["splits"]["validation samples"] == [0, 31]
    lines = diff.lines(account)
    assert "rows       141 in both, 25 only in A, 0 only in B, 31 moved from train to validation" in lines
    fits(lines)


def test_what_was_changed_in_sources_recipe_and_task_is_named(climate: Corpus, climate_copy: Path) -> None:
    one, gone = climate.manifest.sources
    files = [one.files[0].model_copy(update={"fingerprint": "0" * 64}), gone.files[0].model_copy(update={"uri": "n"})]
    new = gone.model_copy(update={"uri": "new.csv"})
    sections = [dict(source) for source in climate.manifest.section["sources"]]
    sections[0]["licence"], sections[1]["uri"] = "MIT", "new.csv"
    section = {**climate.manifest.section, "sources": sections, "min_chars": 7}
    section["splits"] = {**section["splits"], "test": 0.3}
    encoder = {"type": "token-classification"}
    other = resealed(
        climate_copy,
        sources=[one.model_copy(update={"files": files}), new],
        section=section,
        task="tags",
        encoder=encoder,
    )
    account = diff.diff(climate, other, Progress())
    assert account["sources"]["added"] == ["new.csv"]
    assert account["sources"]["removed"] == ["source-1.jsonl"]
    changed = account["sources"]["changed"]["source-0.jsonl"]
    assert changed["files_changed"] == ["source-0.jsonl"]
    assert changed["files_added"] == ["n"]
    assert changed["keys"] == {"licence": [None, "MIT"]}
    assert account["section"] == {"min_chars": [1, 7], "splits.test": [0.2, 0.3]}
    assert account["task"]["name"] == ["sequence-classification", "tags"]
    assert account["rows"]["both"] == 166
    text = "\n".join(diff.lines(account))
    for words in ("of different tasks", 'licence: null -> "MIT"', "only in A: source-1.jsonl", "splits.test"):
        assert words in text
    fits(diff.lines(account))


@given(
    st.lists(st.binary(min_size=16, max_size=16), unique=True, max_size=60),
    st.lists(st.binary(min_size=16, max_size=16), unique=True, max_size=60),
    st.lists(st.binary(min_size=16, max_size=16), unique=True, max_size=60),
)
def test_ids_in_both_are_those_of_the_sets(one: list[bytes], other: list[bytes], shared: list[bytes]) -> None:
    """Zeros at the end included, which numpy takes for padding."""
    shared += [bytes(16), bytes(15) + b"\1", b"\1" + bytes(15)]
    mine, theirs = (list({*these, *shared}) for these in (one, other))

    def array(of: list[bytes]) -> ids.Ids:
        return ids.binary(pa.chunked_array([pa.array([id.hex() for id in of])]))

    assert [bytes(id).ljust(16, b"\0") for id in array(mine)] == mine
    assert ids.common(array(mine), np.sort(array(theirs))) == len(set(mine) & set(theirs))


def test_ids_are_compared_across_chunks_and_take_16_bytes_each(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "c", {"train": [(1.0, ids.CHUNK + 10)]}, tokens=(1, 1), keep_text=False)
    found = ids.read(corpus, lambda rows: None)["train"]
    assert found.nbytes == 16 * (ids.CHUNK + 10)
    assert ids.common(found, found) == len(found)
