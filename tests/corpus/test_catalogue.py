"""`gb corpus show` and `list` tell a person what corpora there are and what is in them."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from s3 import serve

from gb_ray.cli import main
from gb_ray.corpus.catalogue import catalogue, diff, figures, portrait, rows
from gb_ray.corpus.corpus import Corpus, seal
from gb_ray.progress import Progress
from gb_ray.section import UserError

WIDTH = 100


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """The command takes the signals of its process."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def said(capsys: pytest.CaptureFixture[str], *args: object, status: int = 0) -> dict[str, Any]:
    """The JSON object of a call."""
    assert main(["corpus", *map(str, args), "--json"]) == status
    return dict(json.loads(capsys.readouterr().out))


def refused(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    """What a call says that ends for the user's input."""
    assert main(["corpus", *map(str, args)]) == 2
    return capsys.readouterr().err


# --- show -----------------------------------------------------------------------------------------------------------


def test_show_gives_all_counts_and_three_rows_a_split(
    climate: Corpus, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    account = said(capsys, "show", climate.path, "--home", tmp_path)
    splits = climate.manifest.splits
    assert account["digest"] == climate.manifest.digest
    assert account["splits"] == {"train": 141, "validation": 0, "test": 25}
    assert account["epoch"]["train"] == 110 + 62
    assert account["label_counts"] == {name: split.labels for name, split in splits.items()}
    assert account["languages"] == {name: split.languages for name, split in splits.items()}
    assert sum(account["lengths"]["train"]) == 141
    assert account["licences"] == ["not stated"]
    on_disk = sum(file.stat().st_size for file in (climate.path / "train").rglob("*.parquet"))
    assert account["bytes"]["train"] == on_disk
    assert {name: len(found) for name, found in account["rows"].items()} == {"train": 3, "validation": 0, "test": 3}
    row = rows.first(climate, "test", 1)[0]
    assert account["rows"]["test"][0]["fields"] == {"text": row["text"]}
    assert account["rows"]["test"][0]["tokens"] == len(row["input_ids"])


def test_show_says_the_same_to_a_person(climate: Corpus, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["corpus", "show", str(climate.path), "--home", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    train = climate.manifest.splits["train"]
    assert "167 read = 1 quarantined + 166 samples" in text
    assert "1 because text is empty" in text
    assert text.count("NOT STATED") == 2
    for name, count in {**train.labels, **train.languages}.items():
        assert any(line.split()[:2] == [name, str(count)] for line in text.splitlines())
    assert rows.first(climate, "train", 1)[0]["text"][:60] in text
    assert text.count("█") > 40


NASTY = st.text(max_size=300)


@given(name=NASTY, text=NASTY, words=st.lists(NASTY, min_size=3, max_size=60, unique=True))
def test_whatever_texts_say_lines_stay_within_100_columns(
    climate: Corpus, name: str, text: str, words: list[str]
) -> None:
    counts = {word: 10**9 + number for number, word in enumerate(words)}
    splits = {
        key: split.model_copy(update={"labels": counts, "languages": counts})
        for key, split in climate.manifest.splits.items()
    }
    sources = [source.model_copy(update={"uri": name, "licence": text}) for source in climate.manifest.sources]
    funnel = climate.manifest.funnel.model_copy(update={"reasons": counts})
    section = {**climate.manifest.section, "sources": [{"uri": name, "where": {text: name}}] * 2}
    changes = {"splits": splits, "sources": sources, "funnel": funnel, "section": section}
    other = Corpus(climate.path, climate.manifest.model_copy(update=changes))
    account = portrait.account(other)
    account["rows"]["train"] = [{"id": "0", "tokens": 1, "fields": {"a": name, "b": text, "c": words}}]
    fits(portrait.lines(other, account)[4:])  # what comes first are paths and digests as they are


@given(text=NASTY, width=st.integers(2, 120))
def test_a_text_that_is_cut_fits_and_steers_no_terminal(text: str, width: int) -> None:
    cut = figures.cut(text, width)
    assert cell_len(cut) <= width
    assert not set(cut) & set("\x1b\r\n\t\x07\u202e\u2066")


def fits(lines: list[str]) -> None:
    assert not [line for line in lines if cell_len(line) > WIDTH or "\n" in line]


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (999_600, "1 MB"), (1234567, "1.23 MB")]
)
def test_sizes_have_three_digits(count: int, text: str) -> None:
    assert figures.size(count) == text


def test_a_histogram_begins_where_samples_do_and_shows_few_as_well() -> None:
    assert figures.histogram([0, 0, 1, 4000, 2000]) == [
        "  4 to 7 tokens      1  ▏",
        " 8 to 15 tokens  4,000  " + "█" * 40,
        "16 to 31 tokens  2,000  " + "█" * 20,
    ]
    assert figures.histogram([]) == []


# --- list -----------------------------------------------------------------------------------------------------------


def test_list_names_corpora_and_everything_that_is_none(
    climate: Corpus, climate_copy: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    shutil.copytree(climate.path, home / "corpora" / "climate-0123")
    for name in ("climate-4567.building", "climate-89ab.failed", "climate.parts", "strange"):
        (home / "corpora" / name).mkdir()
    (home / "corpora" / "climate-4567.building" / "part.arrow").write_bytes(bytes(1234))
    shutil.copytree(climate.path, home / "corpora" / "torn")
    manifest = home / "corpora" / "torn" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"rows": 20', '"rows": 21', 1))
    entries = {entry["name"]: entry for entry in said(capsys, "list", "--home", home)["corpora"]}
    states = {name: entry["state"] for name, entry in entries.items()}
    assert states == {
        "climate-0123": "corpus",
        "climate-4567.building": "unfinished",
        "climate-89ab.failed": "failed",
        "climate.parts": "parts",
        "strange": "broken",
        "torn": "broken",
    }
    whole = entries["climate-0123"]
    assert whole["digest"] == climate.manifest.digest
    assert whole["splits"] == {"train": 141, "validation": 0, "test": 25}
    assert whole["sources"] == ["source-0.jsonl", "source-1.jsonl"]
    assert whole["bytes"] == sum(file.stat().st_size for file in climate.path.rglob("*") if file.is_file())
    assert entries["climate-4567.building"]["bytes"] == 1234
    assert "altered since it was written" in entries["torn"]["why"]
    assert "not a corpus" in entries["strange"]["why"]
    assert main(["corpus", "list", "--home", str(home)]) == 0
    text = capsys.readouterr().out
    assert all(f"{name}: {state}" in text for name, state in states.items() if state != "corpus")
    assert climate.manifest.digest[:12] in text


def test_list_of_an_empty_home_says_so(tmp_path: Path) -> None:
    assert catalogue.entries(tmp_path) == []
    assert catalogue.lines(tmp_path, [])[0].startswith(f"no corpus in {tmp_path / 'corpora'}")


def test_the_command_compares_two_corpora(
    climate: Corpus, climate_copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = seal(climate_copy, climate.manifest.model_copy(update={"name": "other"}))
    account = said(capsys, "diff", climate.path, other.path, "--home", climate_copy.parent)
    assert account == diff.diff(climate, other, Progress())
    assert not account["equal"]
    assert main(["corpus", "diff", str(climate.path), str(climate.path), "--home", str(climate_copy.parent)]) == 0
    assert "the two corpora are the same" in capsys.readouterr().out


# --- bad input ------------------------------------------------------------------------------------------------------


def test_what_is_no_corpus_is_refused(climate: Corpus, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "nothing there; expected a corpus" in refused(capsys, "show", tmp_path / "absent", "--home", tmp_path)
    assert f"{tmp_path}: not a corpus" in refused(capsys, "check", tmp_path, "--home", tmp_path)
    file = tmp_path / "rows.csv"
    file.write_text("a,b\n")
    assert f"{file}: not a corpus" in refused(capsys, "diff", climate.path, file, "--home", tmp_path)
    assert "absent.yaml" in refused(capsys, "show", tmp_path / "absent.yaml", "--home", tmp_path)


def test_a_recipe_whose_corpus_is_not_built_is_refused_with_what_to_do(
    recipe_file: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for call in (["show"], ["check"], ["diff", recipe_file]):
        text = refused(capsys, *call, recipe_file, "--home", tmp_path)
        assert f"its corpus is not built; run: gb corpus build {recipe_file}" in text


def test_a_damaged_shard_is_refused_by_name_and_found_by_check(
    climate: Corpus, climate_copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = climate.manifest.splits["train"].shards[0].path
    content = bytearray((climate_copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (climate_copy / name).write_bytes(content)
    expected = (
        f"{climate_copy / name}: not the file that was built; what else is wrong says: gb corpus check {climate_copy}"
    )
    assert expected in refused(capsys, "show", climate_copy, "--home", climate_copy.parent)
    other = seal(climate_copy, climate.manifest.model_copy(update={"name": "other"}))  # of equal ones only one is read
    assert expected in refused(capsys, "diff", climate.path, other.path, "--home", climate_copy.parent)
    account = said(capsys, "check", climate_copy, "--home", climate_copy.parent, status=1)
    assert not account["ok"]
    assert [problem.partition(":")[0] for problem in account["problems"]] == [name]
    (climate_copy / name).unlink()
    assert f"{climate_copy / name}: missing" in refused(capsys, "show", climate_copy, "--home", climate_copy.parent)


def test_a_corpus_in_an_object_store_is_shown_and_compared(climate: Corpus, tmp_path: Path) -> None:
    shutil.copytree(climate.path, tmp_path / "bucket" / "c")
    with serve(tmp_path) as server:
        there = Corpus.open(server.uri("bucket/c"))
        here = portrait.account(climate)
        assert portrait.account(there) == here | {"path": "s3://bucket/c"}
        assert diff.diff(climate, there, Progress())["equal"]
        file = tmp_path / "bucket" / "c" / climate.manifest.splits["test"].shards[0].path
        file.unlink()
        with pytest.raises(UserError, match=r"^s3://bucket/c/test/.*: missing; .* gb corpus check s3://bucket/c$"):
            portrait.account(there)
