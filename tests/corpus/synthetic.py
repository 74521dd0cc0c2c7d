"""Corpora of any size without a build: random tokens in the layout and with the manifest of a real one."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gb_ray.corpus.corpus import Corpus, seal
from gb_ray.corpus.manifest import FileEntry, Funnel, Manifest, Shard, SourceEntry, SourceFile, SplitEntry, Stratum
from gb_ray.corpus.section import CorpusSection, Source

LABELS = ["energy", "health", "water"]
LANGUAGES = ["en", "fr", "sw", "hi"]
VOCABULARY = 30_000
SPLITS = ["train", "validation", "test"]


def make_corpus(
    path: Path,
    samples: dict[str, list[tuple[float, int]]],
    lanes: int = 8,
    shard_rows: int = 4096,
    window_shards: int = 4,
    tokens: tuple[int, int] = (5, 40),
    seed: int = 0,
    keep_text: bool = True,
    label: str = "class",
) -> Corpus:
    """Write a corpus with `samples[split]` = [(weight, samples) of each stratum] under `path`; about 200,000 a second.

    Lengths are uniform in [tokens[0], tokens[1]]. A label is a class, one class a token (`label="tokens"`), two
    numbers (`label="values"`), or those of a pair of texts, the first with a third of the tokens (`label="pairs"`);
    only the first are counted in the manifest. Of an id (32 hex digits) the last 16 say where the sample belongs, see
    `place`. Splits that are not named are empty. Stratum k comes from source k.
    """
    path.mkdir(parents=True)
    splits = {
        split: _write_split(path, split, samples.get(split, []), lanes, shard_rows, tokens, seed, keep_text, label)
        for split in SPLITS
    }
    weights = [weight for weight, _ in max((samples.get(split, []) for split in SPLITS), key=len)]
    kept = [
        sum(entry.strata[k].samples for entry in splits.values() if k < len(entry.strata)) for k in range(len(weights))
    ]
    sources = [Source(uri=f"source-{k}.jsonl", weight=weight) for k, weight in enumerate(weights)]
    section = CorpusSection(
        sources=sources, lanes=lanes, shard_rows=shard_rows, window_shards=window_shards, keep_text=keep_text
    )
    manifest = Manifest(
        name=path.name,
        task="sequence-classification",
        encoder={"made": "of random tokens"},
        section=section.model_dump(mode="json"),
        labels=LABELS,
        sources=[_source(source, count, k == 0) for k, (source, count) in enumerate(zip(sources, kept, strict=True))],
        funnel=_funnel(sum(kept)),
        lanes=lanes,
        shard_rows=shard_rows,
        window_shards=window_shards,
        splits=splits,
        files=_files(path),
    )
    return seal(path, manifest)


def place(id: str) -> tuple[str, int, int]:
    """(split, stratum, sample g of the stratum) of an id of `make_corpus`."""
    return SPLITS[int(id[16:18], 16)], int(id[18:20], 16), int(id[20:], 16)


def _source(source: Source, kept: int, first: bool) -> SourceEntry:
    out = 1 if first else 0  # the one row that was left out
    return SourceEntry(
        uri=source.uri,
        files=[SourceFile(uri=source.uri, bytes=0, fingerprint=hashlib.sha256(source.uri.encode()).hexdigest())],
        licence=None,
        language=None,
        weight=source.weight,
        read=kept + out,
        filtered=0,
        quarantined=out,
        dropped=0,
        kept=kept,
    )


def _funnel(samples: int) -> Funnel:
    return Funnel(
        read=samples + 1,
        filtered=0,
        quarantined=1,
        dropped=0,
        reasons={"text is empty": 1},
        repaired=0,
        masked={},
        duplicates=0,
        conflicting=0,
        near_duplicates=0,
        leaks=0,
        samples=samples,
    )


def _files(path: Path) -> list[FileEntry]:
    left_out = '{"source": "source-0.jsonl", "row": 0, "step": "clean", "reason": "text is empty", "excerpt": ""}\n'
    contents = {"README.md": f"# {path.name}\n\nRandom tokens.\n", "left-out/part-00000.jsonl": left_out}
    for name, content in contents.items():
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text(content, encoding="utf-8")
    return [
        FileEntry(path=name, bytes=len(content.encode()), sha256=hashlib.sha256(content.encode()).hexdigest())
        for name, content in contents.items()
    ]


def _write_split(
    path: Path,
    split: str,
    strata: list[tuple[float, int]],
    lanes: int,
    shard_rows: int,
    tokens: tuple[int, int],
    seed: int,
    keep_text: bool,
    label: str,
) -> SplitEntry:
    labels: Counter[str] = Counter()
    languages: Counter[str] = Counter()
    lengths: Counter[int] = Counter()
    longest = 0
    written = []
    for k, (weight, samples) in enumerate(strata):
        shards: list[list[Shard]] = [[] for _ in range(lanes)]
        for number, first in enumerate(range(0, samples, lanes * shard_rows)):
            numbers = np.arange(first, min(first + lanes * shard_rows, samples))
            table = _rows(numbers, SPLITS.index(split), k, tokens, seed, keep_text, label)
            sizes = np.diff(table["input_ids"].chunk(0).offsets.to_numpy())
            longest = max(longest, int(sizes.max()))
            lengths.update(np.log2(sizes).astype(int).tolist())
            if label == "class":
                labels.update(LABELS[number] for number in table["label"].to_numpy().tolist())
            languages.update(table["language"].to_pylist())
            for lane in range(min(lanes, len(numbers))):
                name = f"{split}/stratum-{k}/lane-{lane:05d}/shard-{number:05d}.parquet"
                rows = np.arange(lane, len(numbers), lanes)
                shards[lane].append(_write_shard(path, name, table.take(rows), int(sizes[rows].sum())))
        written.append(Stratum(weight=weight, samples=samples, shards=shards))
    return SplitEntry(
        samples=sum(stratum.samples for stratum in written),
        tokens=sum(shard.tokens for stratum in written for lane in stratum.shards for shard in lane),
        longest=longest,
        labels=dict(labels),
        languages=dict(languages),
        lengths=[lengths[power] for power in range(max(lengths, default=-1) + 1)],
        strata=written,
    )


def _write_shard(path: Path, name: str, table: pa.Table, tokens: int) -> Shard:
    file = path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file, compression="zstd", write_page_checksum=True)
    content = file.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return Shard(path=name, rows=len(table), tokens=tokens, bytes=len(content), sha256=digest)


def _rows(
    numbers: NDArray[np.int64],
    split: int,
    stratum: int,
    tokens: tuple[int, int],
    seed: int,
    keep_text: bool,
    label: str,
) -> pa.Table:
    """The samples with these numbers: what they hold follows from their numbers' first, the split and the seed."""
    draw = np.random.default_rng([seed, split, stratum, int(numbers[0])])
    count = len(numbers)
    offsets = np.concatenate([[0], draw.integers(tokens[0], tokens[1], count, endpoint=True).cumsum()]).astype(np.int32)
    # The cube gives frequent and rare tokens, so that the files compress about as those of a language do.
    ids = (draw.random(offsets[-1], np.float32) ** 3 * VOCABULARY).astype(np.int32)
    where = numbers | stratum << 48 | split << 56
    halves = np.stack([draw.integers(0, 2**63, count), where], axis=1).astype(">i8").view(np.uint8)
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    columns = {
        "id": _strings(digits[np.stack([halves >> 4, halves & 15], axis=2)].ravel(), np.arange(count + 1) * 32),
        "text": _strings(_text(ids, offsets), offsets * 5),
        "source": pa.array(np.full(count, stratum, np.int32)),
        "language": pa.array(np.array(LANGUAGES)[draw.integers(0, len(LANGUAGES), count)].tolist(), pa.string()),
        "input_ids": pa.ListArray.from_arrays(pa.array(offsets), pa.array(ids)),
        "label": _labels(label, draw, ids, offsets),
    }
    return pa.table({name: column for name, column in columns.items() if keep_text or name != "text"})


def _labels(kind: str, draw: np.random.Generator, ids: NDArray[np.int32], offsets: NDArray[np.int32]) -> pa.Array:
    count = len(offsets) - 1
    if kind == "tokens":
        return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.where(ids % 5, ids % 3, -100).astype(np.int32)))
    if kind == "values":
        pairs = pa.array(draw.random(2 * count, np.float32))
        return pa.ListArray.from_arrays(pa.array(np.arange(0, 2 * count + 1, 2, np.int32)), pairs)
    if kind == "pairs":
        of_query = np.maximum(1, np.diff(offsets) // 3)
        numbers = np.column_stack([of_query, draw.integers(0, 12, count), draw.integers(0, 30, count)])
        return pa.array(numbers.tolist(), pa.list_(pa.int64()))
    return pa.array(draw.integers(0, len(LABELS), count, np.int32))


def _text(ids: NDArray[np.int32], offsets: NDArray[np.int32]) -> NDArray[np.uint8]:
    """A word of four letters for each token, a blank after it, a full stop after the last."""
    powers = np.array([26**3, 26**2, 26, 1])
    letters = np.full((len(ids), 5), ord(" "), np.uint8)
    letters[:, :4] = ord("a") + ids[:, None] * 7919 // powers % 26
    letters[offsets[1:] - 1, 4] = ord(".")
    return letters.ravel()


def _strings(characters: NDArray[np.uint8], offsets: NDArray[np.int64]) -> pa.Array:
    buffers = [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(characters)]
    return pa.Array.from_buffers(pa.string(), len(offsets) - 1, buffers)
