"""Whether a corpus is still what was built: every byte, every count, and no file more."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from gb_ray.corpus.catalogue import balance, damage
from gb_ray.corpus.corpus import Corpus
from gb_ray.corpus.manifest import NAME, FileEntry, Manifest, Shard
from gb_ray.corpus.reading import fetch
from gb_ray.corpus.sources import remote
from gb_ray.progress import Progress

THREADS = max(8, os.cpu_count() or 1)
"""Hashing and decoding leave Python's lock to the others; a store answers many requests sooner than one by one."""
MB = 1_000_000


@dataclass(frozen=True)
class Seen:
    """What one file holds: its faults, and what it adds to the counts of its split, or of the funnel's reasons."""

    faults: list[str]
    lengths: Counter[int] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    labels: Counter[int] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)


def check(corpus: Corpus, progress: Progress | None = None) -> list[str]:
    """Read every file of a corpus. One line a fault, which begins with the file's path in it; none when all is right.

    A file whose sha256 is right is also counted: rows, tokens, lengths, languages and labels of samples, reasons of
    rows left out. Of a damaged shard it says which column of which row group does not read. Holds THREADS files in
    memory. Raises what `fetch.read` raises when a disk or store fails.
    """
    manifest = corpus.manifest
    files: list[Shard | FileEntry] = [*_shards(manifest), *manifest.files]
    names = {file.sha256: file.path for file in files}
    total, done, seen = sum(file.bytes for file in files), 0, []
    with (
        (progress or Progress()).stage("check", total=total // MB, unit="MB") as shown,
        ThreadPoolExecutor(THREADS) as pool,
    ):
        for file, found in zip(files, pool.map(partial(_look, corpus, names), files), strict=True):
            seen.append(found)
            if (done + file.bytes) // MB > done // MB:
                shown.to((done + file.bytes) // MB)
            done += file.bytes
    faults = [fault for found in seen for fault in found.faults]
    faults += balance.faults(manifest)
    if not faults:  # counts of files that are damaged are wrong by themselves
        faults += _miscounted(manifest, dict(zip((file.path for file in files), seen, strict=True)))
    known = {NAME, *(file.path for file in files)}
    return faults + [f"{name}: not in the manifest" for name in sorted(_present(corpus) - known)]


def _shards(manifest: Manifest) -> list[Shard]:
    return [shard for split in manifest.splits.values() for shard in split.shards]


def _look(corpus: Corpus, names: dict[str, str], file: Shard | FileEntry) -> Seen:
    try:
        content = fetch.read(corpus.folder, file.path)
    except FileNotFoundError:
        return Seen([f"{file.path}: missing"])
    digest = hashlib.sha256(content).hexdigest()
    if (content.size, digest) != (file.bytes, file.sha256):
        return Seen([f"{file.path}: {_wrong(content, digest, file, names)}"])
    if isinstance(file, Shard):
        return _samples(content, file, bool(corpus.manifest.labels))
    return Seen([], reasons=_reasons(content) if file.path.startswith("left-out/part-") else Counter())


def _wrong(content: pa.Buffer, digest: str, file: Shard | FileEntry, names: dict[str, str]) -> str:
    if names.get(digest, file.path) != file.path:
        return f"holds what belongs in {names[digest]}"
    size = f"{content.size} bytes, expected {file.bytes}"
    what = size if content.size != file.bytes else f"sha256 is {digest}, expected {file.sha256}"
    damaged = isinstance(file, Shard) and digest != file.sha256
    return f"{what}; {damage.locate(content)}" if damaged else what


def _samples(content: pa.Buffer, shard: Shard, labelled: bool) -> Seen:
    columns = ["input_ids", "language", *(["label"] if labelled else [])]
    table = pq.ParquetFile(pa.BufferReader(content)).read(columns, use_threads=False)
    tokens = pc.list_value_length(table["input_ids"])
    pairs = (("rows", len(tokens), shard.rows), ("tokens", pc.sum(tokens).as_py() or 0, shard.tokens))
    return Seen(
        faults=[f"{shard.path}: {found} {what}, expected {due}" for what, found, due in pairs if found != due],
        lengths=_values(tokens),
        languages=_values(pc.fill_null(table["language"], "not identified")),
        labels=_values(table["label"]) if labelled else Counter(),
    )


def _values(column: pa.ChunkedArray) -> Counter[Any]:
    """How often each value occurs; of lists, in the lists."""
    flat = pc.list_flatten(column) if pa.types.is_list(column.type) else column
    return Counter({entry["values"]: entry["counts"] for entry in pc.value_counts(flat).to_pylist()})


def _reasons(content: pa.Buffer) -> Counter[str]:
    return Counter(json.loads(line)["reason"] for line in content.to_pybytes().splitlines())


def _miscounted(manifest: Manifest, seen: dict[str, Seen]) -> Iterator[str]:
    """What the manifest says of all shards of a split together, and of all rows left out."""
    for name, split in manifest.splits.items():
        lengths, languages, numbers = Counter[int](), Counter[str](), Counter[int]()
        for shard in split.shards:
            lengths.update(seen[shard.path].lengths)
            languages.update(seen[shard.path].languages)
            numbers.update(seen[shard.path].labels)
        powers = Counter[int]()
        for length, count in lengths.items():
            powers[max(length, 1).bit_length() - 1] += count
        found = {
            "longest": max(lengths, default=0),
            "lengths": [powers[power] for power in range(max(powers, default=-1) + 1)],
            "languages": dict(languages),
            "labels": {label: numbers[number] for number, label in enumerate(manifest.labels) if numbers[number]},
        }
        for what, due in found.items():
            if getattr(split, what) != due:
                yield f"{NAME}: {name}: {what}: {getattr(split, what)}, expected {due}"
    reasons = sum((found.reasons for found in seen.values()), Counter[str]())
    for reason in sorted({*reasons, *manifest.funnel.reasons}):
        given = manifest.funnel.reasons.get(reason, 0)
        if given != reasons[reason]:
            yield f"{NAME}: funnel: {reason}: {given}, expected {reasons[reason]} by the rows in left-out"


def _present(corpus: Corpus) -> set[str]:
    """The paths of all files there are."""
    if isinstance(corpus.folder, Path):
        found = (path for path in corpus.folder.rglob("*") if path.is_symlink() or not path.is_dir())
        return {path.relative_to(corpus.folder).as_posix() for path in found}
    store, root = remote.split(corpus.folder)
    root = root.rstrip("/")
    select = fs.FileSelector(root, recursive=True)
    infos = remote.persist(corpus.uri, lambda: remote.connect(store).get_file_info(select))
    return {info.path.removeprefix(f"{root}/") for info in infos if info.type == fs.FileType.File}
