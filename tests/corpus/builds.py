"""What tests of builds share: rows good and bad, a plan of them, and what is on disk afterwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from gb_ray.corpus.corpus import Corpus
from gb_ray.corpus.plan import Plan, prepare
from gb_ray.corpus.section import CorpusSection
from gb_ray.tasks.section import SequenceClassificationSection
from gb_ray.tasks.task import make

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


def left_out(path: Path) -> list[dict[str, Any]]:
    files = sorted((path / "left-out").glob("part-*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
