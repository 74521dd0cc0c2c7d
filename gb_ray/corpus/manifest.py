"""A corpus directory and its manifest.

NAME-KEY/
  manifest.json                    written last: a directory without it is not a corpus
  train/lane-00003/shard-00000.parquet
  validation/... test/...
  quarantine/part-00000.jsonl      rows left out: source, row, reason, excerpt
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from gb_ray.corpus.location import sha256
from gb_ray.corpus.order import Order
from gb_ray.section import UserError

NAME = "manifest.json"


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Shard(Frozen):
    """One parquet file: `path` is relative to the corpus."""

    path: str
    rows: int
    tokens: int
    bytes: int
    sha256: str


class SplitEntry(Frozen):
    """One split: `shards[lane][s]`."""

    samples: int
    tokens: int
    longest: int
    labels: dict[str, int]
    shards: list[list[Shard]]


class SourceEntry(Frozen):
    """One source and where its rows went: read = filtered + quarantined + kept (duplicates are among the kept)."""

    uri: str
    sha256: str
    read: int
    filtered: int
    quarantined: int
    kept: int


class Funnel(Frozen):
    """read = filtered + quarantined + duplicates + samples, always."""

    read: int
    filtered: int
    quarantined: int
    reasons: dict[str, int]
    duplicates: int
    conflicting: int
    """Duplicates that carried another label than the row that was kept."""
    samples: int


class Manifest(Frozen):
    """What a corpus is. `digest` covers every other field, so that two corpora with one digest are the same bytes."""

    format: int = 1
    name: str
    key: str
    task: str
    encoder: dict[str, Any]
    labels: list[str]
    sources: list[SourceEntry]
    funnel: Funnel
    lanes: int
    shard_rows: int
    window_shards: int
    splits: dict[str, SplitEntry]
    digest: str = ""

    def content_digest(self) -> str:
        """sha256 (hex) of the canonical JSON of everything but `digest`."""
        content = self.model_dump(mode="json", exclude={"digest"})
        return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()

    def summary(self, path: Path) -> dict[str, Any]:
        """The account of a corpus that commands print."""
        funnel = self.funnel.model_dump()
        splits = {name: split.samples for name, split in self.splits.items()}
        return {"path": str(path), "digest": self.digest, **funnel, "splits": splits}


def where_rows_went(summary: dict[str, Any]) -> str:
    """The funnel of a `Manifest.summary`, for a person."""
    left_out = f"{summary['filtered']} filtered out + {summary['quarantined']} quarantined"
    return f"{summary['read']} read = {left_out} + {summary['duplicates']} duplicates + {summary['samples']} samples"


class Corpus:
    """An opened corpus. `open` checks the manifest; `check` reads every byte."""

    def __init__(self, path: Path, manifest: Manifest):
        self.path, self.manifest = path, manifest

    @classmethod
    def open(cls, path: Path) -> Corpus:
        """Raises UserError when `path` is not a corpus or its manifest was altered."""
        file = path / NAME
        if not file.is_file():
            raise UserError(f"{path}: not a corpus (no {NAME}); build one with: gb corpus build RECIPE")
        try:
            manifest = Manifest.model_validate_json(file.read_bytes())
        except ValidationError as error:
            raise UserError(f"{file}: not a manifest this version reads: {error.errors()[0]['msg']}") from None
        if manifest.content_digest() != manifest.digest:
            raise UserError(f"{file}: altered since it was written; remove {path} and build the corpus again")
        return cls(path, manifest)

    @classmethod
    def find(cls, home: Path, digest: str) -> Corpus:
        """The corpus with this digest under `home/corpora`. Raises UserError when it is not there."""
        for file in sorted((home / "corpora").glob(f"*/{NAME}")):
            try:
                corpus = cls.open(file.parent)
            except UserError:  # of another version, or altered: in neither case the one that is looked for
                continue
            if corpus.manifest.digest == digest:
                return corpus
        raise UserError(f"{home / 'corpora'}: no corpus with digest {digest}; build it: gb corpus build RECIPE")

    def order(self, split: str, seed: int) -> Order:
        """The order of a split. Raises UserError when the corpus has no such split."""
        manifest = self.manifest
        if split not in manifest.splits:
            raise UserError(f"{self.path}: no split {split!r}; it has {', '.join(manifest.splits)}")
        samples = manifest.splits[split].samples
        return Order(manifest.digest, seed, samples, manifest.lanes, manifest.shard_rows, manifest.window_shards)

    def check(self) -> list[str]:
        """Every shard's size, digest and row count. Returns what is wrong, one line a fault, naming the file."""
        problems = []
        for name, split in self.manifest.splits.items():
            for shard in (shard for lane in split.shards for shard in lane):
                problems += _check_shard(self.path / shard.path, shard)
            rows = sum(shard.rows for lane in split.shards for shard in lane)
            if rows != split.samples:
                problems.append(f"{name}: shards hold {rows} rows, the manifest says {split.samples}")
        return problems


def _check_shard(path: Path, shard: Shard) -> list[str]:
    if not path.is_file():
        return [f"{shard.path}: missing"]
    if path.stat().st_size != shard.bytes:
        return [f"{shard.path}: {path.stat().st_size} bytes, expected {shard.bytes}"]
    if sha256(path) != shard.sha256:
        return [f"{shard.path}: altered: its sha256 differs from the manifest's"]
    rows = pq.ParquetFile(path).metadata.num_rows
    return [] if rows == shard.rows else [f"{shard.path}: {rows} rows, expected {shard.rows}"]


def write(path: Path, manifest: Manifest) -> Corpus:
    """Seal a corpus: the manifest is written beside and renamed into place, so that it is there whole or not at all."""
    sealed = manifest.model_copy(update={"digest": manifest.content_digest()})
    beside = path / f"{NAME}.part"
    beside.write_text(sealed.model_dump_json(indent=1), encoding="utf-8")
    beside.rename(path / NAME)
    return Corpus(path, sealed)
