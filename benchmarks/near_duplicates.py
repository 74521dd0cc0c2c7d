"""Near duplicates: what is found, what is missed, and how fast, against exact Jaccard, datasketch and rensa.

    python benchmarks/near_duplicates.py [--data DIR] [--each TEXTS] [--threshold T] [--json FILE]

Real texts of many scripts get copies in which 5, 10 or 20 % of the words are edited. The truth is the exact Jaccard
similarity of all pairs of the sample. The peers, where installed (pip install datasketch rensa), get the same shingles.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.sparse

from gb_ray import machine
from gb_ray.corpus.near import lsh, near
from gb_ray.corpus.near.shingles import jaccard, sets, shingles
from gb_ray.corpus.stages import tables

DATA = Path(__file__).parent.parent.parent / "shared" / "data"
LANGUAGES = ["eng_Latn", "zho_Hans", "jpn_Jpan", "tha_Thai", "hin_Deva", "arb_Arab", "rus_Cyrl", "kor_Hang"]
LANGUAGES += ["amh_Ethi", "tam_Taml", "heb_Hebr"]
UNSPACED = {"zho_Hans", "jpn_Jpan", "tha_Thai"}
LEVELS = (0.05, 0.1, 0.2)
Pairs = set[tuple[int, int]]


@dataclass(frozen=True)
class Sample:
    """Texts, none twice; for each planted copy (its row, the row it is a copy of, share of words edited, set)."""

    texts: list[str]
    planted: list[tuple[int, int, float, str]]


def originals(data: Path, each: int, seed: int) -> dict[str, list[str]]:
    """`each` real texts of every set: speeches in pieces of 1,000 characters, questions, sentences by language."""
    speeches = pq.read_table(data / "un_general_debate" / "ungd_2005_2024.parquet")["text"].to_pylist()
    pieces = [text[i : i + 1000] for text in speeches for i in range(0, len(text) - 999, 1000)]
    found = {"speeches": pieces, "banking77": pq.read_table(data / "banking77" / "train.parquet")["text"].to_pylist()}
    sentences = pq.read_table(data / "sib200" / "train.parquet").to_pandas()
    for language in LANGUAGES:
        found[language] = sentences[sentences["lang"] == language]["text"].tolist()
    rng = np.random.default_rng(seed)
    return {name: [texts[i] for i in rng.permutation(len(texts))[:each]] for name, texts in found.items()}


def edit(text: str, share: float, words: list[str], gap: str, rng: np.random.Generator) -> str:
    """A text after so many of its words were replaced, deleted, inserted, swapped, capitalised or given a comma."""
    found = text.split(gap) if gap else [text[i : i + 2] for i in range(0, len(text), 2)]
    for _ in range(max(1, round(share * len(found)))):
        at, other = int(rng.integers(len(found))), words[int(rng.integers(len(words)))]
        match int(rng.integers(6)):
            case 0:
                found[at] = other
            case 1:
                del found[at : at + (len(found) > 1)]
            case 2:
                found.insert(at, other)
            case 3:
                found[at : at + 2] = found[at : at + 2][::-1]
            case 4:
                found[at] = found[at].upper()
            case 5:
                found[at] += ","
    return gap.join(found)


def plant(found: dict[str, list[str]], seed: int) -> Sample:
    """Every text, and an edited copy of each: a third of them at each level."""
    rng = np.random.default_rng(seed)
    texts = list(dict.fromkeys(text for group in found.values() for text in group))
    row_of = {text: row for row, text in enumerate(texts)}
    planted = []
    for name, group in found.items():
        gap = "" if name in UNSPACED else " "
        words = [word for text in group for word in (text.split(gap) if gap else [text[:2]])]
        for number, text in enumerate(group):
            share = LEVELS[number % len(LEVELS)]
            copy = edit(text, share, words, gap, rng)
            if copy not in row_of:
                row_of[copy] = len(texts)
                planted.append((len(texts), row_of[text], share, name))
                texts.append(copy)
    return Sample(texts, planted)


def truth(texts: list[str], threshold: float) -> Pairs:
    """All pairs at the threshold or above, by counting the shared shingles of every pair."""
    found = sets(texts)
    sizes = np.array([len(one) for one in found])
    numbers = np.unique(np.concatenate(found), return_inverse=True)[1]
    matrix = scipy.sparse.csr_array((np.ones(len(numbers), np.float32), numbers, np.append(0, np.cumsum(sizes))))
    pairs: Pairs = set()
    for start in range(0, len(texts), 256):
        shared = (matrix[start : start + 256] @ matrix.T).toarray()
        similar = shared / (sizes[start : start + 256, None] + sizes - shared) >= threshold
        pairs |= {(start + int(i), int(j)) for i, j in zip(*np.nonzero(similar), strict=True) if start + i < j}
    return pairs


def candidates(texts: list[str], threshold: float) -> Pairs:
    """What `near.find` would verify, without Ray."""
    keys = lsh.bands(texts, threshold)
    rows, ids = np.arange(len(texts), dtype=np.uint32), np.arange(len(texts), dtype=np.uint64)
    columns = [(keys[:, band], keys[:, (band + 1) % keys.shape[1]]) for band in range(keys.shape[1])]
    packed = np.unique(np.concatenate([lsh.pairs(rows, ids, key, other) for key, other in columns]))
    return set(zip((packed >> np.uint64(32)).tolist(), (packed & np.uint64(0xFFFFFFFF)).tolist(), strict=True))


def verified(texts: list[str], threshold: float) -> Pairs:
    """Candidates whose exact similarity is at the threshold or above."""
    found = sets(texts)
    return {(i, j) for i, j in candidates(texts, threshold) if jaccard(found[i], found[j]) >= threshold}


def by_datasketch(texts: list[str], threshold: float) -> Pairs:
    """MinHashLSH with 128 permutations and the bands it chooses, over our shingles."""
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=threshold, num_perm=128)
    hashed = []
    for row, one in enumerate(sets(texts)):
        hashed.append(MinHash(num_perm=128, hashfunc=int))
        hashed[-1].update_batch((one >> np.uint64(32)).tolist())
        index.insert(row, hashed[-1])
    return {(min(i, j), max(i, j)) for i, one in enumerate(hashed) for j in index.query(one) if i != j}


def by_rensa(texts: list[str], threshold: float) -> Pairs:
    """RMinHash with 128 slots in 32 bands, candidates checked against the estimate, over our shingles."""
    from rensa import RMinHash, RMinHashLSH

    index = RMinHashLSH(threshold, 128, 32)
    tokens = ([one[i : i + 8] for i in range(0, len(one), 8)] for one in (s.tobytes() for s in sets(texts)))
    hashed = RMinHash.from_token_sets(tokens, 128, 42)
    index.insert_many(hashed)
    queried = enumerate(index.query_all(hashed))
    return {(i, j) for i, near_i in queried for j in near_i if i < j and index.is_similar(hashed[i], hashed[j])}


def compare(sample: Sample, threshold: float) -> list[dict[str, object]]:
    """Recall, precision and CPU seconds of each method, against the truth."""
    wanted = truth(sample.texts, threshold)
    table = []
    methods = {"gb_ray, candidates": candidates, "gb_ray": verified, "datasketch": by_datasketch, "rensa": by_rensa}
    for name, method in methods.items():
        started = time.process_time()
        try:
            found = method(sample.texts, threshold)
        except ModuleNotFoundError as missing:
            print(f"{name}: left out, {missing}")
            continue
        seconds = round(time.process_time() - started, 2)
        right = len(found & wanted)
        recall, precision = round(right / len(wanted), 4), round(right / len(found), 4)
        table.append({"method": name, "pairs": len(found), "recall": recall, "precision": precision, "cpu_s": seconds})
    return table


def by_level(sample: Sample, threshold: float) -> list[dict[str, object]]:
    """For each set and edit level: copies, how alike (median), how many reach the threshold, how many are found."""
    found = verified(sample.texts, threshold)
    groups: dict[tuple[str, float], list[tuple[float, bool]]] = {}
    for copy, original, share, name in sample.planted:
        alike = jaccard(shingles(sample.texts[copy]), shingles(sample.texts[original]))
        groups.setdefault((name, share), []).append((alike, (original, copy) in found))
    return [
        {
            "set": name,
            "edited": share,
            "copies": len(group),
            "median": round(float(np.median([alike for alike, _ in group])), 2),
            "at_threshold": sum(alike >= threshold for alike, _ in group),
            "found": sum(hit for _, hit in group),
        }
        for (name, share), group in groups.items()
    ]


def speed(data: Path, threshold: float) -> list[dict[str, object]]:
    """CPU seconds of the bands of all speeches and of all sentences."""
    speeches = pq.read_table(data / "un_general_debate" / "ungd_2005_2024.parquet")["text"].to_pylist()
    files = [data / "sib200" / f"{split}.parquet" for split in ("train", "validation", "test")]
    sentences = [text for file in files for text in pq.read_table(file)["text"].to_pylist()]
    lsh.bands(["warm"], threshold)
    table = []
    for name, texts in (("speeches", speeches), ("sentences", sentences)):
        started = time.process_time()
        lsh.bands(texts, threshold)
        seconds = time.process_time() - started
        size = sum(len(text.encode()) for text in texts) / 1e6
        rate = {"texts_per_s": round(len(texts) / seconds), "mb_per_s": round(size / seconds, 1)}
        table.append({"set": name, "texts": len(texts), "mb": round(size, 1), "cpu_s": round(seconds, 2), **rate})
    return table


def write_buckets(folder: Path, split_of: dict[str, str], threshold: float, count: int) -> list[Path]:
    """Texts with their splits as a build leaves them: in order of id, a hash of the text, in `count` files."""
    folder.mkdir(parents=True)
    ids = {text: hashlib.blake2b(text.encode(), digest_size=16).digest() for text in split_of}
    texts = sorted(ids, key=ids.__getitem__)
    keys = lsh.bands(texts, threshold)
    paths = []
    for number, rows in enumerate(np.array_split(np.arange(len(texts)), count)):
        mine = [texts[row] for row in rows]
        columns = {
            "id": pa.array([ids[text] for text in mine], pa.binary(16)),
            "text": pa.array(mine, pa.string()),
            "split": pa.array([split_of[text] for text in mine], pa.string()),
            "bands": pa.FixedSizeListArray.from_arrays(pa.array(keys[rows].reshape(-1)), keys.shape[1]),
        }
        paths.append(folder / f"bucket-{number:05d}.arrow")
        tables.write(pa.table(columns), paths[-1])
    return paths


def leaks(data: Path, folder: Path, threshold: float, tested: int = 2000) -> dict[str, object]:
    """All speeches in pieces, some of them in test, with an edited copy of each of these in train; through Ray."""
    pieces = list(dict.fromkeys(originals(data, 10**6, 0)["speeches"]))
    sample = plant({"speeches": pieces[:tested]}, 1)
    copies = {sample.texts[copy]: sample.texts[original] for copy, original, _, _ in sample.planted}
    split_of = dict.fromkeys([*pieces, *copies], "train") | dict.fromkeys(pieces[:tested], "test")
    buckets = write_buckets(folder, split_of, threshold, 8)
    near.find(buckets[:1], threshold, "leaks")  # Ray's workers have started
    started = time.monotonic()
    removed = near.find(buckets, threshold, "leaks")
    seconds = round(time.monotonic() - started, 1)
    stored = pa.concat_tables([tables.read(path) for path in buckets])["text"].to_pylist()
    gone = {text for text, flag in zip(stored, np.concatenate(removed.flags), strict=True) if flag == near.LEAK}
    alike = {copy for copy, text in copies.items() if jaccard(shingles(copy), shingles(text)) >= threshold}
    found = {"planted": len(copies), "at_threshold": len(alike), "found": len(alike & gone), "removed": len(gone)}
    return {"rows": len(stored), **found, "seconds": seconds}


def show(title: str, table: list[dict[str, object]]) -> None:
    """Print a table."""
    print(f"\n{title}")
    widths = {key: max(len(key), *(len(str(row[key])) for row in table)) for key in table[0]}
    for row in [{key: key for key in widths}, *table]:
        print("  ".join(str(row[key]).ljust(width) for key, width in widths.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--threshold", type=float, default=0.7)
    parser.add_argument("--each", type=int, default=400, help="Texts of every set.")
    options = parser.parse_args()
    result: dict[str, list[dict[str, object]]] = {}
    sample = plant(originals(options.data, options.each, 0), 0)
    result[f"{len(sample.texts)} texts, threshold {options.threshold}"] = compare(sample, options.threshold)
    result["by set and level"] = by_level(sample, options.threshold)
    result["bands"] = speed(options.data, options.threshold)
    with tempfile.TemporaryDirectory() as folder, machine.ray_up("local"):
        result["leaks"] = [leaks(options.data, Path(folder) / "buckets", options.threshold)]
    for title, table in result.items():
        show(title, table)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
