"""The data card says where rows are from, under which licence, and where they went; no text in it breaks it."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token
from synthetic import make_corpus

from gb_ray.corpus.catalogue import markdown
from gb_ray.corpus.catalogue.card import CUT, card
from gb_ray.corpus.catalogue.licence import identifier
from gb_ray.corpus.catalogue.rows import first
from gb_ray.corpus.corpus import Corpus
from gb_ray.corpus.manifest import Manifest
from gb_ray.corpus.section import Clean

PARSER = MarkdownIt("commonmark").enable("table")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Of two sources."""
    path = tmp_path_factory.mktemp("card") / "climate"
    return make_corpus(path, {"train": [(1.0, 120), (2.0, 30)], "test": [(1.0, 40)]}, lanes=2, shard_rows=50)


def parts(text: str) -> tuple[dict[str, Any], str]:
    """The front matter and the Markdown after it: between them is, as for every reader, a line that is `---`."""
    opening, front, body = re.split(r"^---\n", text, maxsplit=2, flags=re.MULTILINE)
    assert opening == ""
    return yaml.safe_load(front), body


def cells(body: str) -> list[list[str]]:
    """The rows of all tables, as a reader sees their cells."""
    rows: list[list[str]] = []
    for token in PARSER.parse(body):
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline" and rows and token.level >= 3:
            rows[-1].append(seen(token))
    return rows


def seen(token: Token) -> str:
    return "".join("\n" if child.type == "softbreak" else child.content for child in token.children or [])


def with_sources(manifest: Manifest, *changes: dict[str, Any]) -> Manifest:
    sources = [source.model_copy(update=c) for source, c in zip(manifest.sources, changes, strict=True)]
    return manifest.model_copy(update={"sources": sources})


def test_every_source_is_named_with_its_own_licence(corpus: Corpus) -> None:
    manifest = with_sources(corpus.manifest, {"licence": "CC-BY-4.0", "language": "sw"}, {"licence": "OGL-UK-3.0"})
    front, body = parts(card(manifest, []))
    assert front["license"] == ["cc-by-4.0", "other"]
    assert front["license_details"] == "OGL-UK-3.0"
    rows = cells(body)
    assert ["0", "source-0.jsonl", "CC-BY-4.0", "sw", "1", "161", "160"] in rows
    assert ["1", "source-1.jsonl", "OGL-UK-3.0", "not identified", "2", "30", "30"] in rows
    for number, source in enumerate(manifest.sources):
        assert [str(number), source.files[0].uri, "0 B", source.files[0].fingerprint] in rows
    assert "NOT STATED" not in body


def test_a_source_without_a_licence_is_said_loudly(corpus: Corpus) -> None:
    front, body = parts(card(with_sources(corpus.manifest, {"licence": "MIT"}, {"licence": None}), []))
    assert front["license"] == ["mit", "unknown"]
    assert ["1", "source-1.jsonl", "NOT STATED", "not identified", "2", "30", "30"] in cells(body)
    assert "**The licence of source 1 is not stated." in body


@pytest.mark.parametrize(
    ("stated", "name"),
    [
        ("MIT", "mit"),
        ("CC BY-SA 4.0", "cc-by-sa-4.0"),
        ("Apache-2.0", "apache-2.0"),
        ("ODbL-1.0", "odbl"),
        ("public domain", "other"),
        (None, "unknown"),
    ],
)
def test_licences_have_the_names_of_the_hub(stated: str | None, name: str) -> None:
    assert identifier(stated) == name


def test_every_step_and_every_reason_has_its_number(corpus: Corpus) -> None:
    counts = {"filtered": 1, "quarantined": 7, "dropped": 1000, "duplicates": 13, "near_duplicates": 17, "leaks": 19}
    reasons = {"text is null": 5, "not JSON": 2, "over 300 characters": 1000}
    update = {**counts, "reasons": reasons, "masked": {"EMAIL": 29, "PHONE": 31}, "conflicting": 11}
    read = corpus.manifest.funnel.samples + sum(counts.values())
    funnel = corpus.manifest.funnel.model_copy(update={**update, "read": read})
    section = {**corpus.manifest.section, "clean": {**corpus.manifest.section["clean"], "personal": True}}
    _, body = parts(card(corpus.manifest.model_copy(update={"funnel": funnel, "section": section}), []))
    rows = [row[:2] for row in cells(body)]
    for step, count in counts.items():
        assert [step.replace("_", " "), f"-{count:,}"] in rows
    for name, count in {**reasons, "EMAIL": 29, "PHONE": 31}.items():
        assert [name, f"{count:,}"] in rows
    assert ["read", f"{read:,}"] in rows
    assert ["samples", "190"] in rows
    assert "11 of the duplicates had another label" in body


def test_splits_labels_and_languages_have_their_counts(corpus: Corpus) -> None:
    front, body = parts(card(corpus.manifest, []))
    rows = cells(body)
    train, _, test = (corpus.manifest.splits[name] for name in ("train", "validation", "test"))
    assert ["train", "150", "180", f"{train.tokens:,}", "40"] in rows
    for what in ("labels", "languages"):
        for name, count in getattr(train, what).items():
            assert [name, str(count), "0", str(getattr(test, what)[name])] in rows
    assert front["language"] == ["en", "fr", "hi", "sw"]
    assert front["size_categories"] == ["n<1K"]
    given = [entry["split"] for entry in front["configs"][0]["data_files"]]
    assert given == ["train", "test"]  # a pattern that fits no file would not load


@pytest.mark.parametrize(
    ("samples", "category"),
    [(999, "n<1K"), (1000, "1K<n<10K"), (10**6 - 1, "100K<n<1M"), (10**6, "1M<n<10M"), (10**13, "n>1T")],
)
def test_the_size_category_is_one_of_the_hubs(corpus: Corpus, samples: int, category: str) -> None:
    funnel = corpus.manifest.funnel.model_copy(update={"samples": samples})
    front, _ = parts(card(corpus.manifest.model_copy(update={"funnel": funnel}), []))
    assert front["size_categories"] == [category]


@pytest.mark.parametrize("key", Clean.model_fields)
def test_every_step_of_the_cleaning_is_told(corpus: Corpus, key: str) -> None:
    some = {"max_chars": 77, "languages": ["sw"], "quality": {"max_digits": 0.3}, "confidence": 0.77}
    before = {**corpus.manifest.section["clean"], "identify": key == "confidence"}

    def told(clean: dict[str, Any]) -> str:
        return card(corpus.manifest.model_copy(update={"section": {**corpus.manifest.section, "clean": clean}}), [])

    assert told({**before, key: some.get(key, True)}) != told(before)


@pytest.mark.parametrize(
    ("splits", "said"),
    [
        ({"by": "hash"}, "by a hash of their content, so that no row ever moves: 0.1 of them to validation"),
        ({"by": "stratified", "test": 0.25}, "with the same share of each label: 0.1 of them to validation, 0.25 to"),
        ({"by": "group", "column": "speaker"}, "by a hash of their speaker, so that no speaker is in two splits"),
        ({"by": "time", "column": "year"}, "by their year, the latest being the test split"),
    ],
)
def test_the_division_into_splits_is_told(corpus: Corpus, splits: dict[str, Any], said: str) -> None:
    section = {**corpus.manifest.section, "splits": {**corpus.manifest.section["splits"], **splits}}
    assert said in card(corpus.manifest.model_copy(update={"section": section}), [])


def test_the_card_does_not_depend_on_what_covers_it(corpus: Corpus) -> None:
    """The manifest lists the card: the card cannot have in it what follows from the manifest."""
    text = card(corpus.manifest, first(corpus, "train", 3))
    assert corpus.manifest.digest not in text
    bare = corpus.manifest.model_copy(update={"digest": "", "files": []})
    assert card(bare, first(corpus, "train", 3)) == text


def test_its_python_reads_the_corpus(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    code = re.search(r"```python\n(.*?)```", card(corpus.manifest, []), re.DOTALL)
    monkeypatch.chdir(corpus.path)
    names: dict[str, Any] = {}
    exec(code.group(1), names)
    assert len(names["samples"]) == 8


TEXTS = st.text("ab |\\`*_[]<>#~&$!-+=.:/(){}\"'\n\r\t\u00e9\u0939\u202e\x1b\x85\u2028")


@settings(max_examples=300)
@given(TEXTS.map(lambda text: f"a{text}a"))
def test_any_text_stays_itself_in_a_cell(text: str) -> None:
    """Other than white space, and what would steer the reader's screen, which is shown as an escape."""
    shown = " ".join(text.split()).replace("\u202e", "\\u202e").replace("\x1b", "\\x1b")
    body = markdown.table(["one", "two"], [[markdown.plain(text), "end"]])
    assert cells(body) == [["one", "two"], [shown, "end"]]


@settings(max_examples=100)
@given(TEXTS, TEXTS, TEXTS)
@example(uri="", licence="---", text="")
@example(uri="\n---\n", licence="\n---\n", text="\n---\n")
@example(uri="", licence="y " * 60 + "--- " * 60, text="")  # lines that are folded
@example(uri="", licence="\u2028---\u2028", text="")
def test_no_text_of_a_source_or_sample_breaks_the_card(corpus: Corpus, uri: str, licence: str, text: str) -> None:
    manifest = with_sources(corpus.manifest, {"licence": f"x{licence}"}, {"licence": "MIT"})
    sources = [{**source, "uri": f"x{uri}"} for source in manifest.section["sources"]]
    manifest = manifest.model_copy(update={"section": {**manifest.section, "sources": sources}})
    rows = [row | {"text": text} for row in first(corpus, "train", 2)]
    front, body = parts(card(manifest, rows))
    usual = parts(card(corpus.manifest, rows[:1]))[1]
    assert headings(body) == headings(usual)
    assert len(cells(body)) == len(cells(usual))
    assert front["license_details"] == " ".join(f"x{licence}".split())
    lines = [token.content for token in PARSER.parse(body) if token.type == "fence"][-1].splitlines()
    assert len(lines) == 2
    assert all(len(line) <= 2 * CUT for line in lines)  # an escape is longer than what it stands for


def headings(body: str) -> list[str]:
    tokens = PARSER.parse(body)
    return [after.content for token, after in pairwise(tokens) if token.type == "heading_open"]


def test_it_tells_of_the_corpus_that_was_built_in_its_own_directory(tmp_path: Path) -> None:
    """A corpus that keeps no text has rows to show all the same."""
    corpus = make_corpus(tmp_path / "c", {"train": [(1.0, 9)]}, keep_text=False)
    _, body = parts(card(corpus.manifest, first(corpus, "train", 1)))
    assert '{"source": 0, "language": "' in body.split("## Some rows")[1]
