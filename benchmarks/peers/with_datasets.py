"""The work with the library `datasets`, as somebody would who knows it well.

Signatures are rensa's, the fastest MinHash there is for Python; rows that share a band are one cluster, unverified.
"""

from __future__ import annotations

import time
from itertools import accumulate, chain, pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import xxhash
from datasets import Dataset, disable_caching, disable_progress_bars, load_dataset
from peers.work import BANDS, CORES, MIN_CHARS, SLOTS, Outcome, clean, files, linked, shingles, tokenizer
from rensa import RMinHash

BATCH = 1000
TOKENIZER = tokenizer()


def signed(batch: pa.Table) -> pa.Table:
    """The clean texts that are long enough, the hash of each, and its bands."""
    texts = [text for text in map(clean, batch["text"].to_pylist()) if len(text) >= MIN_CHARS]
    matrix = RMinHash.digest_matrix_from_token_sets(map(shingles, texts), BANDS * SLOTS, 42)
    rows = np.array(matrix.to_rows(), np.uint32).reshape(-1, SLOTS)
    bands = pa.array([xxhash.xxh3_64_intdigest(row) for row in rows], pa.uint64())
    hashes = pa.array([xxhash.xxh3_64_intdigest(text.encode()) for text in texts], pa.uint64())
    return pa.table({"text": texts, "hash": hashes, "bands": pa.FixedSizeListArray.from_arrays(bands, BANDS)})


def tokenised(batch: pa.Table) -> pa.Table:
    """The token ids; without the masks and offsets that a call of a transformers tokenizer makes as well."""
    ids = [encoding.ids for encoding in TOKENIZER.encode_batch_fast(batch["text"].to_pylist())]
    offsets = pa.array([0, *accumulate(map(len, ids))], pa.int32())
    values = pa.array(np.fromiter(chain.from_iterable(ids), np.int32))
    return batch.append_column("input_ids", pa.ListArray.from_arrays(offsets, values))


def run(folder: Path) -> Outcome:
    """All of the work, written below `folder`."""
    disable_caching()
    disable_progress_bars()
    marks = [("", time.perf_counter())]

    def mark(name: str) -> None:
        marks.append((name, time.perf_counter()))

    data = load_dataset(
        "parquet", data_files=[str(file) for file in files()], columns=["text"], split="train", cache_dir=str(folder)
    )
    assert isinstance(data, Dataset)
    rows = len(data)
    mark("load")
    # Long texts come first: two halves of the rows as they are would be 58 and 18 million characters.
    data = data.shuffle(0).with_format("arrow").map(signed, batched=True, batch_size=BATCH, num_proc=CORES)
    usable = len(data)
    mark("clean and sign")
    table = data.data.table
    unique = np.unique(table["hash"].to_numpy(), return_index=True)[1]
    bands = np.stack(table["bands"].combine_chunks().flatten().to_numpy().reshape(-1, BANDS))[unique]
    kept = np.sort(unique[np.unique(linked(bands), return_index=True)[1]])
    mark("deduplicate")
    data = data.select(kept).select_columns("text").map(tokenised, batched=True, batch_size=BATCH, num_proc=CORES)
    mark("tokenise")
    data.save_to_disk(str(folder / "out"), num_proc=CORES)
    mark("write")
    stages = {name: round(after - before, 2) for (_, before), (name, after) in pairwise(marks)}
    tokens = len(data.data.table["input_ids"].combine_chunks().flatten())
    return Outcome(
        seconds=marks[-1][1] - marks[0][1],
        rows=rows,
        short=rows - usable,
        exact=usable - len(unique),
        near=len(unique) - len(kept),
        kept=len(kept),
        tokens=tokens,
        stages=stages,
    )
