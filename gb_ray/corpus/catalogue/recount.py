"""What a manifest says of a corpus, told to a person."""

from __future__ import annotations

from typing import Any

from gb_ray.corpus.manifest import Manifest

_PAIRS = "Some pairs are in left-out/near-duplicates.jsonl."
_NEAR = {
    "keep": "Near duplicates stay.",
    "leaks": "Near duplicates of rows that are tested on leave training: Jaccard index of shingles from {}. " + _PAIRS,
    "remove": "Of near duplicates one stays: Jaccard index of shingles from {}. " + _PAIRS,
}
_DIVISION = {
    "hash": "by a hash of their content, so that no row ever moves",
    "stratified": "by a hash of their content, with the same share of each label",
    "group": "by a hash of their {}, so that no {} is in two splits",
    "time": "by their {}, the latest being the test split",
}


def cleaning(manifest: Manifest) -> list[str]:
    """What was done to the rows, one sentence a step, in order."""
    clean, near = manifest.section["clean"], manifest.section["duplicates"]
    said = [
        clean["repair"] and f"Wrongly decoded text was repaired, control characters removed: {_rows(manifest)}.",
        clean["quality"] and f"Texts outside these limits were dropped: {_limits(clean['quality'])}.",
        f"Texts shorter than {manifest.section['min_chars']:,} characters were quarantined.",
        clean["max_chars"] and f"Texts longer than {clean['max_chars']:,} characters were dropped.",
        (clean["identify"] or clean["languages"])
        and "Where a source does not state its language it was identified text by text, und standing for what was "
        f"recognised with a confidence under {clean['confidence']:g}.",
        clean["languages"] and f"Texts in other languages than {', '.join(clean['languages'])} were dropped.",
        clean["personal"] and "Personal data was masked, see below.",
        "Of rows with the same text one stays; one that is tested on is not trained on.",
        _NEAR[near["near"]].format(near["similarity"]),
    ]
    return [sentence for sentence in said if sentence]


def division(manifest: Manifest) -> str:
    """How rows were divided into splits."""
    splits = manifest.section["splits"]
    given = sorted({source["split"] for source in manifest.section["sources"] if source["split"]})
    if len(given) and all(source["split"] for source in manifest.section["sources"]):
        return "Each source is given to a split as a whole."
    how = _DIVISION[splits["by"]].format(*2 * [splits["column"]])
    shares = f"{splits['validation']:g} of them to validation, {splits['test']:g} to test"
    whole = f" Some sources are given as a whole to {', '.join(given)}." if given else ""
    return f"Rows are divided {how}: {shares} (seed {splits['seed']}).{whole}"


def address(manifest: Manifest, number: int) -> str:
    """Where source `number` is, and which of the rows there it has."""
    source = manifest.section["sources"][number]
    wanted = " and ".join(f"{column} = {value}" for column, value in source["where"].items())
    return f"{source['uri']} where {wanted}" if wanted else str(source["uri"])


def by_split(manifest: Manifest, what: str) -> list[tuple[str, list[int]]]:
    """(name, samples in each split) of all `labels` or `languages`, the most frequent first."""
    counts: list[dict[str, int]] = [getattr(split, what) for split in manifest.splits.values()]
    names = {name for count in counts for name in count}
    found = [(name, [count.get(name, 0) for count in counts]) for name in names]
    return sorted(found, key=lambda entry: (-sum(entry[1]), entry[0]))


def _rows(manifest: Manifest) -> str:
    return f"{manifest.funnel.repaired:,} rows"


def _limits(quality: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in quality.items() if value is not None) or "none"
