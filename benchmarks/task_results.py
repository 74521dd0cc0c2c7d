"""What the recipes reach on their test splits, over several seeds, beside what others reach on the same rows.

    python benchmarks/task_results.py RECIPE [--seeds 5] [--home DIR] [--json FILE] [section.key=value ...]

RECIPE is a name in jobs/recipes: intents, feedback, entities, grid_load. Each seed is one `gb finetune`, and the corpus
is built once. The peers learn from the very rows of the corpus' train split and answer those of its test split:
texts: scikit-learn's TF-IDF of words and pairs with logistic regression; grid load: the load a day before (what a
forecaster has without a model), and scikit-learn's gradient boosting on the same columns as numbers. For entities the
peer is Trainer, in benchmarks/train_speed.py, which trains both on the same batches.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from gb_ray.corpus.corpus import Corpus

ROOT = Path(__file__).parent.parent
MAIN = {"intents": "accuracy", "feedback": "accuracy", "entities": "entity_f1", "grid_load": "mae_load"}


def finetune(recipe: str, seed: int, home: Path, overrides: list[str]) -> dict[str, Any]:
    """The account of one run."""
    command = [str(Path(sys.executable).parent / "gb"), "finetune", f"jobs/recipes/{recipe}.yaml", "--home", str(home)]
    done = subprocess.run(
        [*command, "--json", f"seed={seed}", *overrides], cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True
    )
    return dict(json.loads(done.stdout))


def rows(corpus: Corpus, split: str, columns: list[str]) -> dict[str, list[Any]]:
    """Columns of a split's samples."""
    tables = [
        pq.read_table(corpus.path / shard.path, columns=columns) for shard in corpus.manifest.splits[split].shards
    ]
    return {name: [value for table in tables for value in table[name].to_pylist()] for name in columns}


def linear(corpus: Corpus) -> dict[str, float]:
    """TF-IDF and logistic regression."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import accuracy_score, f1_score
    from sklearn.pipeline import make_pipeline

    train, test = (rows(corpus, split, ["text", "label_name"]) for split in ("train", "test"))
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=10, max_iter=1000)
    )
    found = model.fit(train["text"], train["label_name"]).predict(test["text"])
    return {
        "accuracy": accuracy_score(test["label_name"], found),
        "macro_f1": f1_score(test["label_name"], found, average="macro"),
    }


def boosted(corpus: Corpus) -> dict[str, dict[str, float]]:
    """Gradient boosting on numbers, and the load a day before. The split's rows are found by their times' order."""
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.metrics import mean_absolute_error, r2_score

    source = corpus.manifest.section["sources"][0]
    table = pq.read_table(ROOT / source["uri"]).to_pandas()
    table = table[table["pid"] == source["where"]["pid"]].sort_values("index").reset_index(drop=True)
    table["before"] = table.set_index("index")["load"].reindex(table["index"] - np.timedelta64(1, "D")).to_numpy()
    table = table.dropna(subset=["load"])
    columns = ["windspeed_100m", "winddeg", "radiation", "temp", "clouds", "humidity", "rain", "hour", "weekday"]
    table["hour"] = table["index"].dt.hour + table["index"].dt.minute / 60
    table["weekday"] = table["index"].dt.weekday
    first = int(len(table) * (1 - corpus.manifest.splits["test"].samples / corpus.manifest.funnel.samples))
    train, test = table.iloc[: int(first * 0.9)], table.iloc[first:].dropna(subset=["before"])
    model = HistGradientBoostingRegressor(random_state=0).fit(train[columns], train["load"])
    answers = model.predict(test[columns])
    return {
        name: {"mae_load": mean_absolute_error(test["load"], found), "r2_load": r2_score(test["load"], found)}
        for name, found in (("gradient boosting", answers), ("the day before", test["before"]))
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", choices=MAIN)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--home", type=Path, default=Path.home() / ".gb_ray")
    parser.add_argument("--json", type=Path)
    parser.add_argument("overrides", nargs="*")
    asked = parser.parse_args()
    accounts = [finetune(asked.recipe, seed, asked.home, asked.overrides) for seed in range(asked.seeds)]
    task = next(iter(accounts[0]["metrics"]["test"]))
    ours = [account["metrics"]["test"][task] for account in accounts]
    corpus = Corpus.find(asked.home, accounts[0]["corpus"]["digest"])
    peers: dict[str, dict[str, float]] = {}
    if asked.recipe in ("intents", "feedback"):
        peers["TF-IDF, logistic regression"] = linear(corpus)
    elif asked.recipe == "grid_load":
        peers |= boosted(corpus)
    print(f"{asked.recipe}: {corpus.manifest.splits['test'].samples} test samples, {asked.seeds} seeds")
    for name in ours[0]:
        values = [one[name] for one in ours]
        spread = statistics.stdev(values) if len(values) > 1 else float("nan")
        beside = ", ".join(f"{peer} {found[name]:.4f}" for peer, found in peers.items() if name in found)
        marked = "*" if name == MAIN[asked.recipe] else " "
        print(f"{marked} {name:16}{statistics.mean(values):9.4f} ± {spread:.4f}   {beside}")
    if asked.json:
        asked.json.write_text(json.dumps({"ours": ours, "peers": peers}, indent=1))


if __name__ == "__main__":
    main()
