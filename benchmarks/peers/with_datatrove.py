"""The work with `datatrove`, one task a file, as its own examples of MinHash deduplication go.

What is generous: words are split at blanks (its default for English takes spaCy); of its normalisations only those stay
that gb_ray has too; no pass for exact duplicates, which have equal signatures; texts are cleaned twice, which is
cheaper than to store them in between; nothing is shuffled; its tokenizer is given a file that says where to truncate.
Its DocumentTokenizer writes tokens without texts, so that a writer of parquet stands before it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import xxhash
from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import (
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.filters import LambdaFilter
from datatrove.pipeline.formatters.base import BaseFormatter
from datatrove.pipeline.readers import ParquetReader
from datatrove.pipeline.tokens import DocumentTokenizer
from datatrove.pipeline.writers import ParquetWriter
from datatrove.utils.logging import logger
from datatrove.utils.stats import PipelineStats
from datatrove.utils.text import TextNormConfig
from datatrove.utils.word_tokenizers import WordTokenizer
from peers.work import BANDS, CORES, DATA, MIN_CHARS, NGRAM, SLOTS, Outcome, clean, files, tokenizer, words

NORMALISED = TextNormConfig(norm_unicode_diacritics=False, norm_numbers=False)
CONFIG = MinhashConfig(n_grams=NGRAM, num_buckets=BANDS, hashes_per_bucket=SLOTS, norm_config=NORMALISED)


class Words(WordTokenizer):
    """Those of all peers."""

    def word_tokenize(self, text: str) -> list[str]:
        """Of a normalised text."""
        return words(text)

    def sent_tokenize(self, text: str) -> list[str]:
        """Nobody asks for sentences."""
        raise NotImplementedError

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        """Nobody asks for spans."""
        raise NotImplementedError


class Signature(MinhashDedupSignature):
    """datatrove 0.10 hands text to xxhash, which takes nothing but bytes since its version 4."""

    def __init__(self, *args: Any):
        super().__init__(*args)
        self._hash_func = hashed


def hashed(text: str) -> int:
    """As datatrove's own."""
    return int(xxhash.xxh64_intdigest(text.encode()))


class Clean(BaseFormatter):
    """The cleaning of all contenders."""

    name = "clean"

    def format(self, text: str) -> str:
        """One text."""
        return clean(text)


def usable(folder: Path) -> list[Any]:
    """Steps that read the clean texts that are long enough."""
    row = {"id_key": "text", "read_metadata": False, "adapter": document}
    reader = ParquetReader(str(DATA), paths_file=str(folder / "files.txt"), **row)
    return [reader, Clean(), LambdaFilter(long_enough)]


def document(reader: Any, row: dict[str, Any], path: str, number: int) -> dict[str, Any]:
    """What the reader makes a Document of."""
    return {"text": row["text"], "id": str(number)}


def long_enough(document: Document) -> bool:
    """Whether it stays."""
    return len(document.text) >= MIN_CHARS


def text_alone(writer: Any, document: Document) -> dict[str, Any]:
    """What the writer makes a row of."""
    return {"text": document.text}


def run(folder: Path) -> Outcome:
    """All of the work, written below `folder`."""
    logger.remove()
    place = {name: str(folder / name) for name in ("signatures", "bands", "removed", "texts", "tokens")}
    (folder / "files.txt").write_text("".join(f"{file.relative_to(DATA)}\n" for file in files()))
    tokenizer().save(str(folder / "tokenizer.json"))
    stages = {
        "clean and sign": [*usable(folder), Signature(place["signatures"], CONFIG, Words())],
        "bands": [MinhashDedupBuckets(place["signatures"], place["bands"], config=CONFIG, lines_to_buffer=1000)],
        "clusters": [MinhashDedupCluster(place["bands"], place["removed"], CONFIG, lines_to_buffer=1000)],
        "tokenise and write": [
            *usable(folder),
            MinhashDedupFilter(place["removed"], lines_to_buffer=1000),
            ParquetWriter(place["texts"], adapter=text_alone),
            DocumentTokenizer(
                place["tokens"], str(folder / "tokenizer.json"), batch_size=1000, shuffle_documents=False
            ),
        ],
    }
    tasks = {"bands": BANDS, "clusters": 1}
    seconds, found = {}, {}
    started = time.perf_counter()
    for name, steps in stages.items():
        began = time.perf_counter()
        logs = str(folder / "logs" / name)
        # Forked workers start in less time than those of its default.
        executor = LocalPipelineExecutor(
            steps, tasks=tasks.get(name, len(files())), workers=CORES, logging_dir=logs, start_method="fork"
        )
        found[name] = executor.run()
        seconds[name] = round(time.perf_counter() - began, 2)
    return outcome(time.perf_counter() - started, found["tokenise and write"], seconds)


def outcome(seconds: float, stats: PipelineStats, stages: dict[str, float]) -> Outcome:
    """What the statistics of the last stage say."""
    reader, _, short, near, _, tokens = [dict(step.stats) for step in stats.stats]
    return Outcome(
        seconds=seconds,
        rows=int(reader["documents"].total),
        short=int(short["dropped"].total),
        exact=0,
        near=int(near["dropped"].total),
        kept=int(near["forwarded"].total),
        tokens=int(tokens["tokens"].total),
        stages=stages,
    )
