"""Sources to corpus, every row accounted for.

    read + clean ─▶ buckets by id ─▶ near duplicates ─▶ tokenise ─▶ lanes
        │             │ duplicates out    │ out
        └ left-out    └ splits            └ leaks out

Ray tasks work through each stage, whose results are files, so a build that was killed goes on where it was, no
process holds more than a bucket, and the next build reads again only what changed.

    corpora/NAME.parts/         what was read of each file, for the next build of NAME; one builds NAME at a time
    corpora/NAME-KEY.building/  the later stages, until the corpus is whole; then it becomes
    corpora/NAME-KEY/           the corpus
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gb_ray.corpus.catalogue.card import card
from gb_ray.corpus.corpus import Corpus, seal
from gb_ray.corpus.manifest import SPLITS, FileEntry, Manifest, SplitEntry
from gb_ray.corpus.near import near
from gb_ray.corpus.plan import Plan
from gb_ray.corpus.stages import account, bucket, encode, lanes, read, split, stage, strata, tables
from gb_ray.corpus.stages.stage import Result
from gb_ray.files import sha256
from gb_ray.progress import Progress
from gb_ray.section import UserError

LOCK = "lock"


def existing(plan: Plan, home: Path) -> Corpus | None:
    """The corpus of this plan if it was built before."""
    path = plan.path(home)
    return Corpus.open(path) if (path / "manifest.json").is_file() else None


def build(plan: Plan, home: Path, progress: Progress) -> Corpus:
    """The corpus of a plan, built under `home/corpora`; Ray must be up. An existing one is opened, not built again.

    While another process builds a corpus of the same name it is waited for: they share what was read. Raises UserError
    when no row is left to train on, when more than `max_quarantine` of them were quarantined (those rows then stay in
    `home/corpora/NAME-KEY.failed/left-out`), or when the disk is full.
    """
    if found := existing(plan, home):
        return found
    final = plan.path(home)
    parts, work = final.with_name(f"{plan.name}.parts"), final.with_name(f"{final.name}.building")
    with _locked(plan.name, parts, progress):
        if found := existing(plan, home):  # since a moment ago
            return found
        work.mkdir(exist_ok=True)
        try:
            corpus = _Build(plan, parts, work, progress).run()
        except _Refused as error:
            failed = final.with_name(f"{final.name}.failed")
            shutil.rmtree(failed, ignore_errors=True)
            (work / "corpus").rename(failed)
            shutil.rmtree(work)
            raise UserError(f"{error}\nThe rows left out are in {failed / 'left-out'}") from None
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise stage.disk_full(error) from None
            raise
        corpus.path.rename(final)
        shutil.rmtree(work)
        return Corpus(final, corpus.manifest)


class _Refused(Exception):
    """The sources make no corpus that one would want to train on."""


@contextmanager
def _locked(name: str, parts: Path, progress: Progress) -> Iterator[None]:
    """Have what this build reads alone. The lock ends with its process, however it ends."""
    parts.mkdir(parents=True, exist_ok=True)
    with (parts / LOCK).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            progress.say(f"corpus {name}: process {file.read()} builds one of this name; waiting until it ends")
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


class _Build:
    """One build; `run` is its order of stages."""

    def __init__(self, plan: Plan, parts: Path, work: Path, progress: Progress):
        self.plan, self.section, self.progress = plan, plan.section, progress
        self.parts, self.work, self.out = parts, work, work / "corpus"
        # It takes seconds to load and is not needed before everything is read.
        self.encoder = ThreadPoolExecutor(1).submit(plan.encoder.ready)
        self.readings = [
            (number, read.Reading(source, piece, plan.encoder, plan.section, plan.code))
            for number, source in enumerate(plan.sources)
            for piece in source.pieces(whole_files=plan.encoder.context > 0)
        ]

    def run(self) -> Corpus:
        """All stages, in order."""
        found = self._read()
        left_out = self._gather_left_out()
        sources = account.sources(self.plan.sources, [number for number, _ in self.readings], found)
        if problem := account.too_many(sources, found, self.section.max_quarantine):
            first = account.for_one([self.out / entry.path for entry in left_out])
            raise _Refused(f"{self.plan.name}: {problem}; {first}")
        buckets, shuffled = self._shuffle(found)
        labels, unique = bucket.tally(shuffled)
        if len(labels) == 1 and self.plan.encoder.chooses_one:
            raise _Refused(f"{self.plan.name}: every row has the label {labels[0]!r}; there is nothing to learn")
        removed = self._near_duplicates(buckets)
        splits = self._deal(*self._tokenise(buckets, removed, labels), labels)
        funnel = account.funnel(sources, found, unique, removed, splits)
        if splits["train"].samples == 0:
            raise _Refused(f"{self.plan.name}: no row is left to train on: {funnel.model_dump()}")
        manifest = Manifest(
            name=self.plan.name,
            task=self.plan.task,
            encoder=self.plan.encoding,
            section=self.section.model_dump(mode="json"),
            labels=labels,
            sources=sources,
            funnel=funnel,
            lanes=self.section.lanes,
            shard_rows=self.section.shard_rows,
            window_shards=self.section.window_shards,
            splits=splits,
            files=left_out,
        )
        return self._seal(manifest)

    def _read(self) -> list[Result]:
        with self.progress.stage("read", unit="rows") as shown:
            seen = _adder(lambda result: result["read"], shown.to)
            return stage.run([reading for _, reading in self.readings], read.read, self.parts, seen)

    def _gather_left_out(self) -> list[FileEntry]:
        """The rows left out, one file a piece that has any."""
        folder = self.out / "left-out"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        found = [self.parts / reading.name / read.LEFT_OUT for _, reading in self.readings]
        files = []
        for number, file in enumerate(file for file in found if file.stat().st_size):
            copy = folder / f"part-{number:05d}.jsonl"
            shutil.copyfile(file, copy)
            files.append(self._listed(copy))
        return files

    def _shuffle(self, found: list[Result]) -> tuple[list[Path], list[Result]]:
        """The buckets' files, and what was counted."""
        parts = [
            bucket.Part(self.parts / reading.name / f"part-{part:04d}.arrow", number)
            for (number, reading), result in zip(self.readings, found, strict=True)
            for part in range(len(result["parts"]))
        ]
        if not parts:
            raise _Refused(f"{self.plan.name}: not one usable row: {dict(account.added(found, 'reasons'))}")
        rows = sum(sum(result["parts"]) for result in found)
        with self.progress.stage("shuffle", total=rows, unit="rows") as shown:
            cuts = split.cuts(self.section.splits, self.plan.encoder, [part.path for part in parts])
            of = bucket.count(rows, sum(result["bytes"] for result in found))
            items = [bucket.Bucket(number, of, parts, self.plan.encoder, cuts) for number in range(of)]
            seen = _adder(lambda result: result["rows"] + result["duplicates"], shown.to)
            results = stage.run(items, bucket.merge, self.work, seen)
        return [self.work / item.name / bucket.FILE for item in items], results

    def _near_duplicates(self, buckets: list[Path]) -> list[NDArray[np.int8]] | None:
        """What becomes of each row of each bucket; None when near duplicates stay."""
        section = self.section.duplicates
        if section.near == "keep":
            return None
        file = self.work / "near.npz"
        if not file.is_file():
            with self.progress.stage("near duplicates"):
                removed = near.find(buckets, section.similarity, section.near)
            pairs = [json.dumps(vars(example)) + "\n" for example in removed.examples]
            (self.work / "near-duplicates.jsonl").write_text("".join(pairs), encoding="utf-8")
            beside = file.with_name("near.part.npz")
            np.savez(beside, *removed.flags)
            beside.rename(file)
        with np.load(file) as saved:
            return [saved[f"arr_{number}"] for number in range(len(buckets))]

    def _tokenise(
        self, buckets: list[Path], removed: list[NDArray[np.int8]] | None, labels: list[str]
    ) -> tuple[list[Path], list[Result]]:
        """The files of samples, and which splits and strata they hold."""
        numbers = [self._weights.index(source.section.weight) for source in self.plan.sources]
        items = [
            encode.Encoding(
                number=number,
                bucket=path,
                removed=removed[number] if removed else None,
                encoder=self.encoder.result(),
                labels=labels,
                strata=numbers,
                keep_text=self.section.keep_text,
            )
            for number, path in enumerate(buckets)
        ]
        rows = sum(len(tables.read(path)) for path in buckets)
        gone = sum(int(np.count_nonzero(flags)) for flags in removed) if removed else 0
        with self.progress.stage("tokenise", total=rows - gone, unit="samples") as shown:
            seen = _adder(lambda result: result["rows"], shown.to)
            results = stage.run(items, encode.encode, self.work, seen)
        return [self.work / item.name / encode.FILE for item in items], results

    def _deal(self, files: list[Path], encoded: list[Result], labels: list[str]) -> dict[str, SplitEntry]:
        """Write the lanes of every split."""
        pieces, kinds = encode.pieces(files, encoded), strata.of_sources(self._weights)
        if balance := self.plan.encoder.balance:
            pieces, kinds = strata.balanced(pieces, self._weights, labels, balance)
        with self.progress.stage("write", total=sum(result["rows"] for result in encoded), unit="samples") as shown:
            dealings = [
                dealing
                for key, found in pieces.items()
                for dealing in lanes.dealings(*key, found, self.section, bool(labels), self.out)
            ]
            seen = _adder(lambda result: sum(shard["rows"] for shard in result["shards"]), shown.to)
            dealt = list(zip(dealings, stage.run(dealings, lanes.deal, self.work / "written", seen), strict=True))
        return {
            name: lanes.split_entry(
                kinds if name == "train" else strata.of_sources([1.0]),
                [(dealing, result) for dealing, result in dealt if dealing.split == name],
                labels,
                self.section.lanes,
            )
            for name in SPLITS
        }

    def _seal(self, manifest: Manifest) -> Corpus:
        """Write the data card and the manifest; forget what earlier builds read and this one did not."""
        files = list(manifest.files)
        pairs = self.work / "near-duplicates.jsonl"
        if pairs.is_file():
            files.append(self._listed(shutil.copyfile(pairs, self.out / "left-out" / pairs.name)))
        first = pq.read_table(self.out / manifest.splits["train"].shards[0].path).slice(0, 3).to_pylist()
        (self.out / "README.md").write_text(card(manifest, first), encoding="utf-8")
        files.append(self._listed(self.out / "README.md"))
        corpus = seal(self.out, manifest.model_copy(update={"files": files}))
        used = {reading.name for _, reading in self.readings}
        for folder in self.parts.iterdir():
            if folder.name not in used and folder.name != LOCK:
                shutil.rmtree(folder)
        return corpus

    @property
    def _weights(self) -> list[float]:
        return sorted({source.section.weight for source in self.plan.sources})

    def _listed(self, file: Path) -> FileEntry:
        return FileEntry(path=str(file.relative_to(self.out)), bytes=file.stat().st_size, sha256=sha256(file))


def _adder(count: Callable[[Result], int], show: Callable[[int], Any]) -> Callable[[Result], None]:
    """Shows the running sum of what results count."""
    total = 0

    def seen(result: Result) -> None:
        nonlocal total
        total += count(result)
        show(total)

    return seen
