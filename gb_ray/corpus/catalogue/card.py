"""The data card: what a corpus is, for the person who finds its directory. It decides nothing and has no date in it,
so that the same corpus has the same card."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

import yaml

from gb_ray.corpus.catalogue.figures import histogram, size
from gb_ray.corpus.catalogue.licence import identifier
from gb_ray.corpus.catalogue.markdown import block, plain, table
from gb_ray.corpus.catalogue.recount import address, by_split, cleaning, division
from gb_ray.corpus.catalogue.rows import Row, fields
from gb_ray.corpus.manifest import Manifest

NOT_IDENTIFIED = "not identified"
NOT_STATED = "**NOT STATED**"
_NO_LANGUAGE = {NOT_IDENTIFIED, "und"}
CUT = 200
_FILES, _LABELS = 20, 50
"""How many are listed; the manifest has them all."""
_CATEGORIES = {
    "sequence-classification": "text-classification",
    "token-classification": "token-classification",
    "regression": "text-classification",
    "causal-lm": "text-generation",
    "embedding": "sentence-similarity",
}
_STEPS = {
    "filtered": "left out by the recipe's `where`",
    "quarantined": "unusable: broken, or not what the task needs",
    "dropped": "usable, but outside the limits below",
    "duplicates": "the same text again",
    "near_duplicates": "nearly the same text again",
    "leaks": "nearly the same text is tested on",
}


def card(manifest: Manifest, samples: list[Row]) -> str:
    """The card (Markdown after the YAML front matter of a Hugging Face dataset card) with `samples` as examples.

    It does not read the manifest's digest, key and files, of which it is one.
    """
    parts = [
        _front_matter(manifest),
        f"# {manifest.name}",
        _summary(manifest),
        *_sources(manifest),
        *_rows_left_out(manifest),
        "## How the rows were cleaned\n\n" + "\n".join(f"- {plain(line)}" for line in cleaning(manifest)),
        _masked(manifest),
        *_splits(manifest),
        "## Lengths\n\nSamples of all splits by their number of tokens.\n\n" + block(histogram(_lengths(manifest))),
        _reading(manifest),
        "## Some rows\n\n" + block([_excerpt(row) for row in samples]),
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(manifest: Manifest) -> str:
    licences = sorted({identifier(source.licence) for source in manifest.sources})
    languages = sorted({name for split in manifest.splits.values() for name in split.languages} - _NO_LANGUAGE)
    kind = str(manifest.encoder.get("type"))
    content: dict[str, Any] = {"pretty_name": manifest.name}
    if languages:
        content["language"] = languages
    content["license"] = licences[0] if len(licences) == 1 else licences
    if "other" in licences:
        others = {source.licence for source in manifest.sources if identifier(source.licence) == "other"}
        # YAML reads some line breaks as others: as in a table's cell, each is a blank.
        content["license_details"] = "; ".join(sorted(" ".join(str(licence).split()) for licence in others))
    if kind in _CATEGORIES:
        content["task_categories"] = [_CATEGORIES[kind]]
    content["size_categories"] = [_size_category(manifest.funnel.samples)]
    content["tags"] = ["gb_ray"]
    files = [
        {"split": name, "path": f"{name}/**/*.parquet"} for name, split in manifest.splits.items() if split.samples
    ]
    content["configs"] = [{"config_name": "default", "data_files": files}]
    return f"---\n{yaml.safe_dump(content, sort_keys=False, allow_unicode=True)}---"


def _size_category(samples: int) -> str:
    bounds = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")
    power = next((power for power in range(len(bounds)) if samples < 1000 * 10**power), None)
    if power is None:
        return f"n>{bounds[-1]}"
    return f"{bounds[power - 1]}<n<{bounds[power]}" if power else f"n<{bounds[0]}"


def _summary(manifest: Manifest) -> str:
    funnel, kind = manifest.funnel, manifest.encoder.get("type")
    counts = ", ".join(f"{split.samples:,} {name}" for name, split in manifest.splits.items())
    task = f"the task {plain(manifest.task)}" + (f" ({kind})" if kind else "")
    number = len(manifest.sources)
    text = (
        f"{funnel.samples:,} samples for {task}: {counts}. They are what was kept of {funnel.read:,} rows of "
        f"{number} source{'s' if number > 1 else ''}, globally shuffled, tokenised, and written by gb_ray in "
        f"{manifest.lanes} lanes."
    )
    silent = [str(i) for i, source in enumerate(manifest.sources) if source.licence is None]
    if silent:
        whose = f"source {silent[0]}" if len(silent) == 1 else f"sources {', '.join(silent)}"
        text += f"\n\n**The licence of {whose} is not stated. Find it out before you use or pass on those rows.**"
    return text


def _sources(manifest: Manifest) -> Iterator[str]:
    rows = [
        [
            number,
            plain(address(manifest, number)),
            plain(source.licence) if source.licence else NOT_STATED,
            plain(source.language or NOT_IDENTIFIED),
            f"{source.weight:g}",
            f"{source.read:,}",
            f"{source.kept:,}",
        ]
        for number, source in enumerate(manifest.sources)
    ]
    head = ["source", "address", "licence", "language", "weight", "rows read", "rows kept"]
    yield (
        "## Sources\n\nA row's column `source` has the number of the source it is from; that source's licence is its "
        "own. Duplicates are among the rows kept. An epoch sees each training row `weight` times"
        + (", times what its label asks for, see below" if manifest.splits["train"].seen else "")
        + ".\n\n"
        + table(head, rows, words=4)
    )
    shown = [
        [number, plain(file.uri), size(file.bytes), plain(file.fingerprint)]
        for number, source in enumerate(manifest.sources)
        for file in source.files[:_FILES]
    ]
    more = sum(max(0, len(source.files) - _FILES) for source in manifest.sources)
    yield table(["source", "file", "size", "sha256, or of a remote file its size and time"], shown, words=4) + (
        f"\n\nAnd {more:,} more files, which `manifest.json` names." if more else ""
    )


def _rows_left_out(manifest: Manifest) -> Iterator[str]:
    funnel = manifest.funnel
    steps = [[step.replace("_", " "), f"{-getattr(funnel, step):,}", why] for step, why in _STEPS.items()]
    rows = [["**read**", f"{funnel.read:,}", ""], *steps, ["**samples**", f"{funnel.samples:,}", ""]]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    yield "## Where the rows went\n\n" + "\n".join(["| step | rows | what they were |", "|---|---:|---|", *lines])
    if funnel.reasons:
        reasons = sorted(funnel.reasons.items(), key=lambda entry: (-entry[1], entry[0]))
        yield (
            "The quarantined and the dropped by reason; file, row and reason of each are in `left-out/`.\n\n"
            + table(["reason", "rows"], [[plain(reason), f"{count:,}"] for reason, count in reasons])
        )
    if funnel.conflicting:
        yield f"{funnel.conflicting:,} of the duplicates had another label than the row that was kept."


def _masked(manifest: Manifest) -> str:
    head = "## What was masked\n\n"
    if not manifest.section["clean"]["personal"]:
        return head + "Nothing: personal data that is in the sources is in the corpus."
    said = "Numbers and addresses that rules recognise; names are not among them, and no rule finds all.\n\n"
    if not manifest.funnel.masked:
        return head + said + "None was found."
    return head + said + table(["kind", "found"], [[plain(k), f"{n:,}"] for k, n in manifest.funnel.masked.items()])


def _splits(manifest: Manifest) -> Iterator[str]:
    rows = [
        [name, f"{split.samples:,}", f"{split.epoch:,}", f"{split.tokens:,}", f"{split.longest:,}"]
        for name, split in manifest.splits.items()
    ]
    head = ["split", "samples", "an epoch", "tokens", "longest"]
    yield f"## Splits\n\n{plain(division(manifest))}\n\n" + table(head, rows)
    if seen := manifest.splits["train"].seen:
        times = [[plain(name), f"{count:.3g}"] for name, count in list(seen.items())[:_LABELS]]
        yield "Labels are balanced: how often an epoch sees each training row of a label.\n\n" + table(
            ["label", "times an epoch"], times
        )
    for title, counts in (("Labels", by_split(manifest, "labels")), ("Languages", by_split(manifest, "languages"))):
        if counts:
            shown = [[plain(name), *(f"{count:,}" for count in found)] for name, found in counts[:_LABELS]]
            more = f"\n\nAnd {len(counts) - _LABELS:,} more." if len(counts) > _LABELS else ""
            yield f"## {title}\n\n" + table([title.lower()[:-1], *manifest.splits], shown) + more


def _lengths(manifest: Manifest) -> list[int]:
    lengths = [split.lengths for split in manifest.splits.values()]
    return [sum(column) for column in zip_longest(*lengths, fillvalue=0)]


def _reading(manifest: Manifest) -> str:
    split = next(name for name, split in manifest.splits.items() if split.samples)
    return f"""## How to read it

As training does, in an order that follows from the seed alone:

```python
from gb_ray.corpus.corpus import Corpus
from gb_ray.corpus.reading.reader import Reader

samples = Reader(Corpus.open("."), "{split}", seed=0).step(epoch=0, start=0, stop=8)  # "." is this directory
```

As a table, or on the Hub by its name: `datasets.load_dataset(".")`. Whether it is whole: `gb corpus check .`"""


def _excerpt(row: Row) -> str:
    shown = {name: row[name] for name in ("source", "language")} | fields(row)
    line = json.dumps(shown, ensure_ascii=False)
    return line if len(line) <= CUT else line[: CUT - 1] + "…"
