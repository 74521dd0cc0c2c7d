"""Sources to corpus with Ray, every row accounted for.

    read + clean ─▶ sort by id ─▶ duplicates out ─▶ survey ─▶ split + tokenise ─▶ lanes
        │                              │               └ labels, strata
        └ quarantine/                  └ counted

The id of a row is a hash of its content, so one sort by it is the global shuffle (hashes are uniform), brings
duplicates together, and gives the same order whatever the machines did.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from gb_ray.corpus import lanes, read, unique
from gb_ray.corpus.encode import encode, survey
from gb_ray.corpus.encoder import Encoder
from gb_ray.corpus.location import sha256
from gb_ray.corpus.manifest import Corpus, Funnel, Manifest, write
from gb_ray.corpus.section import CorpusSection
from gb_ray.corpus.source import OpenSource, open_source
from gb_ray.progress import Progress
from gb_ray.section import UserError

SPLITS = ("train", "validation", "test")
TOKENIZER_FILES = ("tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "added_tokens.json", "*.model")


@dataclass(frozen=True)
class Plan:
    """What is to be built, its inputs checked."""

    name: str
    task: str
    section: CorpusSection
    encoder: Encoder
    sources: list[OpenSource]
    tokenizer_sha256: str

    @property
    def key(self) -> str:
        """sha256 (hex) of everything that decides the corpus; the same key, the same corpus."""
        content = {
            "sources": [source.sha256 for source in self.sources],
            "section": self.section.model_dump(mode="json"),
            "task": [self.task, self.encoder.fingerprint()],
            "tokenizer": self.tokenizer_sha256,
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def path(self, home: Path) -> Path:
        """Where its corpus is, or will be."""
        return home / "corpora" / f"{self.name}-{self.key[:12]}"


def prepare(name: str, task: str, section: CorpusSection, encoder: Encoder, backbone: Path) -> Plan:
    """Check every source before any work. Raises UserError."""
    sources = [open_source(source, encoder.columns) for source in section.sources]
    return Plan(name, task, section, encoder, sources, _tokenizer_sha256(backbone))


def _tokenizer_sha256(backbone: Path) -> str:
    """sha256 (hex) of all the files that decide what a tokenizer does, whichever of them it has."""
    found = {path for pattern in TOKENIZER_FILES for path in backbone.glob(pattern)}
    return hashlib.sha256(json.dumps([[path.name, sha256(path)] for path in sorted(found)]).encode()).hexdigest()


def existing(plan: Plan, home: Path) -> Corpus | None:
    """The corpus of this plan if it was built before."""
    path = plan.path(home)
    return Corpus.open(path) if (path / "manifest.json").is_file() else None


def build(plan: Plan, home: Path, progress: Progress) -> Corpus:
    """The corpus of a plan, built under `home/corpora`; Ray must be up. An existing one is opened, not built again.

    Raises UserError when no row is left to train on or more than `max_quarantine` of them were quarantined; the
    quarantined rows then stay in `home/corpora/NAME-KEY.failed/quarantine`.
    """
    if found := existing(plan, home):
        return found
    final = plan.path(home)
    partial = final.with_name(f"{final.name}.building-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)  # of a build that was killed and had this process number
    partial.mkdir(parents=True)
    try:
        corpus = _build(plan, partial, progress)
        try:
            partial.rename(final)
        except OSError:
            if found := existing(plan, home):  # another process built it meanwhile
                return found
            raise
        return Corpus(final, corpus.manifest)
    except UserError:
        failed = final.with_name(f"{final.name}.failed")
        shutil.rmtree(failed, ignore_errors=True)
        partial.rename(failed)
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _build(plan: Plan, out: Path, progress: Progress) -> Corpus:
    with progress.stage("read", unit="rows") as stage:
        rows, tallies = read.read(plan.sources, plan.encoder, stage)
        reasons = read.quarantine(rows, tallies, out / "quarantine")
        _refuse_if_too_many(reasons, tallies, plan)
    with progress.stage("shuffle"):
        blocks, duplicates = unique.unique(rows)
        labels, cuts = survey(blocks, plan.encoder, plan.section.splits)
        if len(labels) == 1:
            raise UserError(f"{plan.name}: every row has the label {labels[0]!r}; there is nothing to learn")
    total = sum(block.rows for block in blocks)
    with progress.stage("tokenise", total=total, unit="samples") as stage:
        encoded = encode(blocks, plan.encoder, labels, cuts, stage)
    with progress.stage("write", total=total, unit="samples") as stage:
        splits = {name: lanes.write_split(encoded, name, labels, plan.section, out, stage) for name in SPLITS}
    funnel = Funnel(
        read=sum(entry.read for entry in tallies),
        filtered=sum(entry.filtered for entry in tallies),
        quarantined=sum(reasons.values()),
        reasons=dict(sorted(reasons.items())),
        duplicates=duplicates.removed,
        conflicting=duplicates.conflicting,
        samples=sum(split.samples for split in splits.values()),
    )
    if funnel.read != funnel.filtered + funnel.quarantined + funnel.duplicates + funnel.samples:
        raise RuntimeError(f"rows are not accounted for: {funnel}")
    if splits["train"].samples == 0:
        raise UserError(f"{plan.name}: no row is left to train on: {funnel.model_dump()}")
    manifest = Manifest(
        name=plan.name,
        key=plan.key,
        task=plan.task,
        encoder=plan.encoder.fingerprint(),
        labels=labels,
        sources=tallies,
        funnel=funnel,
        lanes=plan.section.lanes,
        shard_rows=plan.section.shard_rows,
        window_shards=plan.section.window_shards,
        splits=splits,
    )
    return write(out, manifest)


def _refuse_if_too_many(reasons: Counter[str], tallies: list[read.SourceEntry], plan: Plan) -> None:
    candidates = sum(entry.read - entry.filtered for entry in tallies)
    share = reasons.total() / max(1, candidates)
    if share > plan.section.max_quarantine:
        worst = ", ".join(f"{count} x {reason}" for reason, count in reasons.most_common(3))
        raise UserError(
            f"{plan.name}: {share:.1%} of {candidates} rows were quarantined ({worst}); corpus.max_quarantine allows "
            f"{plan.section.max_quarantine:.1%}. See corpora/{plan.name}-{plan.key[:12]}.failed/quarantine/rows.jsonl"
        )
