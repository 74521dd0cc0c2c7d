"""Whether the numbers of a manifest agree with one another."""

from __future__ import annotations

from collections.abc import Iterator

from gb_ray.corpus.manifest import NAME, Manifest, SplitEntry, Stratum

Claim = tuple[str, int, int]
"""What is counted, the number that the manifest gives, and the one that follows from its other numbers."""


def faults(manifest: Manifest) -> list[str]:
    """One line for each number that disagrees; none when all add up."""
    claims = [*_rows(manifest)]
    for name, split in manifest.splits.items():
        claims += _split(name, split, manifest)
    return [f"{NAME}: {what}: {given}, expected {due}" for what, given, due in claims if given != due]


def _rows(manifest: Manifest) -> Iterator[Claim]:
    funnel, sources = manifest.funnel, manifest.sources
    removed = funnel.duplicates + funnel.near_duplicates + funnel.leaks
    out = funnel.filtered + funnel.quarantined + funnel.dropped
    yield "funnel: read", funnel.read, out + removed + funnel.samples
    yield "funnel: reasons", sum(funnel.reasons.values()), funnel.quarantined + funnel.dropped
    yield "funnel: samples", funnel.samples, sum(split.samples for split in manifest.splits.values())
    for step in ("read", "filtered", "quarantined", "dropped"):
        yield f"funnel: {step}", getattr(funnel, step), sum(getattr(source, step) for source in sources)
    yield "sources: kept", sum(source.kept for source in sources), removed + funnel.samples
    for source in sources:
        yield f"{source.uri}: read", source.read, source.filtered + source.quarantined + source.dropped + source.kept


def _split(name: str, split: SplitEntry, manifest: Manifest) -> Iterator[Claim]:
    yield f"{name}: samples", split.samples, sum(stratum.samples for stratum in split.strata)
    yield f"{name}: tokens", split.tokens, sum(shard.tokens for shard in split.shards)
    yield f"{name}: lengths", sum(split.lengths), split.samples
    yield f"{name}: languages", sum(split.languages.values()), split.samples
    for label in sorted({stratum.label for stratum in split.strata if stratum.label is not None}):
        held = sum(stratum.samples for stratum in split.strata if stratum.label == label)
        yield f"{name}: strata of {label}", held, split.labels.get(label, 0)
    for number, stratum in enumerate(split.strata):
        yield f"{name}/stratum-{number}: lanes", len(stratum.shards), manifest.lanes
        yield from _lanes(f"{name}/stratum-{number}", stratum, manifest)


def _lanes(name: str, stratum: Stratum, manifest: Manifest) -> Iterator[Claim]:
    """Lane l of C has every C-th sample from l on, in full shards but for the last."""
    for number, shards in enumerate(stratum.shards):
        lane, rows = f"{name}/lane-{number:05d}", [shard.rows for shard in shards]
        due = len(range(number, stratum.samples, manifest.lanes))
        yield f"{lane}: rows", sum(rows), due
        yield f"{lane}: shards", len(rows), -(-due // manifest.shard_rows)
        yield f"{lane}: rows before the last shard", sum(rows[:-1]), max(0, len(rows) - 1) * manifest.shard_rows
