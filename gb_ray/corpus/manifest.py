"""A corpus' manifest: what is in it, where every row went, and the digest of every file.

NAME-KEY/
  manifest.json                              written last: a directory without it is not a corpus
  README.md                                  the data card
  train/stratum-0/lane-00003/shard-00000.parquet
  validation/... test/...
  left-out/part-00000.jsonl                  rows left out: source, file, row, step, reason, excerpt
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import Any

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

NAME = "manifest.json"
SPLITS = ("train", "validation", "test")
SHOWN = 5
"""Labels that a person is told of in one line."""


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Shard(Frozen):
    """One parquet file: `path` is relative to the corpus."""

    path: str
    rows: int
    tokens: int
    bytes: int
    sha256: str


class Stratum(Frozen):
    """The samples of a split that an epoch has equally often, in lanes of their own: `shards[lane][s]`.

    Their sources have one weight; where labels are balanced, they also have one `label`.
    """

    weight: float
    samples: int
    shards: list[list[Shard]]
    label: str | None = None

    @model_serializer(mode="wrap")
    def _without_absent(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # The digest of a corpus covers it: those whose labels are not balanced keep theirs.
        found: dict[str, Any] = write(self)
        return {key: value for key, value in found.items() if value is not None}

    @property
    def drawn(self) -> int:
        """Samples that an epoch takes from it."""
        return round(self.weight * self.samples)


class SplitEntry(Frozen):
    """One split. `lengths[i]` counts samples of 2**i to 2**(i+1) - 1 tokens; `labels` and `languages` count samples."""

    samples: int
    tokens: int
    longest: int
    labels: dict[str, int]
    languages: dict[str, int]
    lengths: list[int]
    strata: list[Stratum]

    @classmethod
    def joined(cls, entries: list[SplitEntry]) -> SplitEntry:
        """The split of several corpora that are read together. Labels are counted by name, whosever they are."""
        powers = range(max(len(entry.lengths) for entry in entries))
        return cls(
            samples=sum(entry.samples for entry in entries),
            tokens=sum(entry.tokens for entry in entries),
            longest=max(entry.longest for entry in entries),
            labels=dict(sum((Counter(entry.labels) for entry in entries), Counter())),
            languages=dict(sum((Counter(entry.languages) for entry in entries), Counter())),
            lengths=[sum(entry.lengths[power] for entry in entries if power < len(entry.lengths)) for power in powers],
            strata=[stratum for entry in entries for stratum in entry.strata],
        )

    @property
    def epoch(self) -> int:
        """Samples in an epoch: each as often as its source's weight says."""
        return sum(stratum.drawn for stratum in self.strata)

    @property
    def seen(self) -> dict[str, float]:
        """How often an epoch has each sample of a label, where labels are balanced; the most repeated first."""
        samples, drawn = Counter[str](), Counter[str]()
        for stratum in self.strata:
            if stratum.label is not None:
                samples[stratum.label] += stratum.samples
                drawn[stratum.label] += stratum.drawn
        found = {label: round(drawn[label] / count, 4) for label, count in samples.items()}
        return dict(sorted(found.items(), key=lambda entry: (-entry[1], entry[0])))

    @property
    def shards(self) -> list[Shard]:
        """All its shards."""
        return [shard for stratum in self.strata for lane in stratum.shards for shard in lane]

    @property
    def samples_digest(self) -> str:
        """sha256 (hex) of its shards' digests: of the samples alone, wherever the files they were read from lay."""
        return hashlib.sha256("".join(shard.sha256 for shard in self.shards).encode()).hexdigest()


class FileEntry(Frozen):
    """A file that stands beside the shards; `path` is relative to the corpus."""

    path: str
    bytes: int
    sha256: str


class SourceFile(Frozen):
    """A file that was read. `fingerprint` is the sha256 of a local file; of a remote one its size and time."""

    uri: str
    bytes: int
    fingerprint: str


class SourceEntry(Frozen):
    """One source and where its rows went: read = filtered + quarantined + dropped + kept.

    Duplicates are among the kept.
    """

    uri: str
    files: list[SourceFile]
    licence: str | None
    language: str | None
    weight: float
    read: int
    filtered: int
    quarantined: int
    dropped: int
    kept: int


class Funnel(Frozen):
    """read = filtered + quarantined + dropped + duplicates + near_duplicates + leaks + samples, always."""

    read: int
    filtered: int
    """Left out by the recipe's `where`."""
    quarantined: int
    """Unusable: broken, or not what the task needs."""
    dropped: int
    """Usable, but outside the limits of `clean`."""
    reasons: dict[str, int]
    """Of the quarantined and the dropped."""
    repaired: int
    """Rows whose text was repaired."""
    masked: dict[str, int]
    """Personal data replaced, by kind."""
    duplicates: int
    conflicting: int
    """Duplicates that carried another label than the row that was kept."""
    near_duplicates: int
    leaks: int
    """Rows that left because a near duplicate of theirs is tested on."""
    samples: int

    def adds_up(self) -> bool:
        """Whether every row is accounted for."""
        out = self.filtered + self.quarantined + self.dropped + self.duplicates + self.near_duplicates + self.leaks
        return self.read == out + self.samples


class Manifest(Frozen):
    """What a corpus is. `digest` covers every other field, so that corpora with one digest are the same bytes."""

    format: int = 2
    name: str
    task: str
    encoder: dict[str, Any]
    section: dict[str, Any]
    """The recipe's `corpus:` section."""
    labels: list[str]
    sources: list[SourceEntry]
    funnel: Funnel
    lanes: int
    shard_rows: int
    window_shards: int
    splits: dict[str, SplitEntry]
    files: list[FileEntry]
    """The data card and the rows left out."""
    digest: str = ""

    def content_digest(self) -> str:
        """sha256 (hex) of the canonical JSON of everything but `digest`."""
        content = self.model_dump(mode="json", exclude={"digest"})
        return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()

    def sealed(self) -> Manifest:
        """The same with its digest."""
        return self.model_copy(update={"digest": self.content_digest()})

    def summary(self, path: object) -> dict[str, Any]:
        """The account of a corpus that commands print."""
        funnel = self.funnel.model_dump()
        splits = {name: split.samples for name, split in self.splits.items()}
        found = {"path": str(path), "digest": self.digest, **funnel, "splits": splits}
        seen = self.splits["train"].seen
        return found | ({"seen": seen} if seen else {})


def where_rows_went(summary: dict[str, Any]) -> str:
    """The funnel of a `Manifest.summary`, for a person: steps that took nothing are not named."""
    steps = ("filtered", "quarantined", "dropped", "duplicates", "near_duplicates", "leaks")
    taken = [f"{summary[step]} {step.replace('_', ' ')}" for step in steps if summary[step]]
    return f"{summary['read']} read = " + " + ".join([*taken, f"{summary['samples']} samples"])


def how_often(summary: dict[str, Any]) -> list[str]:
    """What a `Manifest.summary` says of rows that an epoch repeats, for a person; nothing where none are."""
    if not (seen := summary.get("seen")):
        return []
    most = [f"{name} {times:.3g} times" for name, times in list(seen.items())[:SHOWN]]
    more = [f"{len(seen) - SHOWN} more"] if len(seen) > SHOWN else []
    return [f"labels balanced: an epoch sees {', '.join(most + more)}"]
