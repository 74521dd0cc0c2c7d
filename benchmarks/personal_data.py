"""How well personal data is found in the made cases, how fast, and how often real text is touched.

    python benchmarks/personal_data.py [--json FILE] [--data FOLDER]

MB are 10**6 bytes of UTF-8 and seconds are of the process, on one core. The held-out half of the cases was chosen by a
hash before the rules were written; its failures were not looked at.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests" / "corpus"))

from personal_cases import Found, Score, cases, score  # noqa: E402

from gb_ray.corpus.clean.personal.masker import Masker  # noqa: E402

MASKER = Masker()
MARK = re.compile(r"<(EMAIL|PHONE|CARD|IBAN|NATIONAL_ID|IP)>")
REAL = {
    "un_general_debate": ["ungd_2005_2024.parquet"],
    "sib200": ["train.parquet", "validation.parquet", "test.parquet"],
}


def find(text: str) -> Found:
    """(kind, string) of each mask, told from the masked text."""
    parts = MARK.split(MASKER.mask(text)[0])
    match = re.fullmatch("(.+?)".join(map(re.escape, parts[::2])), text, re.DOTALL)
    assert match
    return tuple(zip(parts[1::2], match.groups(), strict=True))


def line(name: str, one: Score) -> str:
    return f"  {name:14} {one.precision:9.3f} {one.recall:7.3f} {one.right:6} {one.extra:6} {one.missing:8}"


def quality() -> dict[str, Any]:
    """Print and return precision and recall of both halves, by kind and language."""
    made = [case for case in cases() if not MARK.search(case.text)]
    results: dict[str, Any] = {}
    for half, chosen in (
        ("seen", [case for case in made if not case.held_out]),
        ("held out", [case for case in made if case.held_out]),
        ("all", made),
    ):
        scores = score(chosen, find)
        print(f"{half}: {len(chosen)} texts, {sum(not case.found for case in chosen)} of them look-alikes")
        print(f"  {'':14} precision  recall  right  extra  missing")
        print("\n".join(line(name, one) for name, one in sorted(scores.kinds.items())))
        if half == "all":
            print("\n".join(line(name, one) for name, one in sorted(scores.languages.items())))
        print(line("all", scores.all))
        results[half] = asdict(scores)
    return results


def speed(name: str, texts: Iterable[str]) -> dict[str, Any]:
    """Print and return MB/s over all texts, over those without candidates, and the masks per MB."""
    every = list(texts)
    counts: Counter[str] = Counter()
    start = time.process_time()
    for text in every:
        counts += MASKER.mask(text)[1]
    seconds = time.process_time() - start
    size = sum(len(text.encode()) for text in every) / 1e6
    bare = [text for text in every if not re.search(r"[@\d]", text)]
    start = time.process_time()
    for text in bare:
        MASKER.mask(text)
    bare_rate = sum(len(text.encode()) for text in bare) / 1e6 / max(1e-9, time.process_time() - start)
    print(
        f"{name}: {len(every)} texts, {size:.1f} MB, {size / seconds:.1f} MB/s; {len(bare)} without a digit or an @ "
        f"{bare_rate:.1f} MB/s; {counts.total() / size:.3f} masks a MB {dict(counts)}"
    )
    return {"mb": size, "mb_per_s": size / seconds, "bare_mb_per_s": bare_rate, "masks": dict(counts)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of the real texts")
    given = parser.parse_args()
    results: dict[str, Any] = {
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("phonenumberslite", "python-stdnum")},
        "quality": quality(),
        "speed": {"made cases": speed("made cases", [case.text for case in cases()])},
    }
    for folder, files in REAL.items():
        if not (given.data / folder).is_dir():
            print(f"{folder}: skipped, not in {given.data}")
            continue
        texts = (text for file in files for text in pq.read_table(given.data / folder / file)["text"].to_pylist())
        results["speed"][folder] = speed(folder, texts)
    if given.json:
        given.json.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
