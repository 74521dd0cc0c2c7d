"""All that a person wants to know of one corpus before training on it."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

from gb_ray.corpus.catalogue.figures import WIDTH, columns, cut, histogram, size
from gb_ray.corpus.catalogue.recount import address, by_split
from gb_ray.corpus.catalogue.rows import Row, first, line, shown
from gb_ray.corpus.corpus import Corpus
from gb_ray.corpus.manifest import how_often, where_rows_went

ROWS = 3
_SHOWN = 20
"""Sources, labels, languages and reasons for a person; the account has them all."""
Account = dict[str, Any]


def account(corpus: Corpus) -> Account:
    """The summary of the manifest, all its counts, bytes on disk, and three rows a split without their tokens.

    Raises UserError when the shard that those rows are in is damaged.
    """
    manifest = corpus.manifest
    splits = manifest.splits
    return {
        **manifest.summary(corpus.uri),
        "name": manifest.name,
        "task": manifest.task,
        "task_type": manifest.encoder.get("type"),
        "labels": manifest.labels,
        "label_counts": {name: split.labels for name, split in splits.items()},
        "languages": {name: split.languages for name, split in splits.items()},
        "lengths": {name: split.lengths for name, split in splits.items()},
        "longest": {name: split.longest for name, split in splits.items()},
        "tokens": {name: split.tokens for name, split in splits.items()},
        "epoch": {name: split.epoch for name, split in splits.items()},
        "bytes": {name: sum(shard.bytes for shard in split.shards) for name, split in splits.items()},
        "bytes_beside": sum(file.bytes for file in manifest.files),
        "licences": sorted({source.licence or "not stated" for source in manifest.sources}),
        "sources": [source.model_dump() for source in manifest.sources],
        "rows": {name: [shown(row) for row in first(corpus, name, ROWS)] for name in splits},
    }


def lines(corpus: Corpus, found: Account) -> list[str]:
    """The account for a person, within 100 columns."""
    task = found["task"] + (f" ({found['task_type']})" if found["task_type"] else "")
    return [
        f"corpus     {found['path']}",
        f"digest     {found['digest']}",
        f"task       {task}",
        f"rows       {where_rows_went(found)}",
        *_because(found["reasons"], "           "),
        *([f"masked     {_counts(found['masked'])}"] if found["masked"] else []),
        *(f"epoch      {line}" for line in how_often(found)),
        "",
        *_sources(corpus, found["sources"]),
        "",
        *_splits(found),
        *_by_split("label", corpus, "labels"),
        *_by_split("language", corpus, "languages"),
        "",
        *histogram([sum(counts) for counts in zip_longest(*found["lengths"].values(), fillvalue=0)]),
        *(text for name, rows in found["rows"].items() if rows for text in ("", name, *_rows(rows))),
    ]


def _because(reasons: dict[str, int], indent: str) -> list[str]:
    most = sorted(reasons.items(), key=lambda entry: (-entry[1], entry[0]))
    said = [indent + cut(f"{count:,} because {reason}", WIDTH - len(indent)) for reason, count in most[:_SHOWN]]
    return said + _more(len(most))


def _counts(found: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in found.items())


def _sources(corpus: Corpus, sources: list[Any]) -> list[str]:
    head = ["source", "files", "read", "kept", "weight", "licence"]
    shown = [
        [
            cut(address(corpus.manifest, number), 40),
            f"{len(source['files']):,}",
            f"{source['read']:,}",
            f"{source['kept']:,}",
            f"{source['weight']:g}",
            cut(source["licence"] or "NOT STATED", 20),
        ]
        for number, source in enumerate(sources[:_SHOWN])
    ]
    return columns([head, *shown]) + _more(len(sources))


def _splits(found: Account) -> list[str]:
    head = ["split", "samples", "an epoch", "tokens", "mean", "longest", "on disk"]
    rows = [
        [
            name,
            f"{samples:,}",
            f"{found['epoch'][name]:,}",
            f"{found['tokens'][name]:,}",
            f"{found['tokens'][name] / max(1, samples):.1f}",
            f"{found['longest'][name]:,}",
            size(found["bytes"][name]),
        ]
        for name, samples in found["splits"].items()
    ]
    return columns([head, *rows])


def _by_split(title: str, corpus: Corpus, what: str) -> list[str]:
    counts = by_split(corpus.manifest, what)
    rows = [[cut(name, 50), *(f"{count:,}" for count in found)] for name, found in counts[:_SHOWN]]
    return ["", *columns([[title, *corpus.manifest.splits], *rows]), *_more(len(counts))] if rows else []


def _rows(rows: list[Row]) -> list[str]:
    return [f"  {line(row, WIDTH - 2)}" for row in rows]


def _more(total: int) -> list[str]:
    return [f"and {total - _SHOWN:,} more; --json has all"] if total > _SHOWN else []
