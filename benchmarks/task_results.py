"""What the recipes reach on their test splits, over several seeds, beside what others reach on the same rows.

    python benchmarks/task_results.py [RECIPE] [--seeds 5] [--at-once 1] [--home DIR] [--json FILE] [KEY=VALUE ...]

RECIPE is a name in jobs/recipes: intents (if none is given), feedback, topics, entities, grid_load, translations. Each
seed is one `gb finetune` on the benchmark's Ray, and the corpus is built once. With `--at-once 2 train.workers=1` two
cores train two seeds: the same global batches, with nothing to send between workers. The peers learn from the very rows
of the corpus' train split and answer those of its test split. Texts: scikit-learn's TF-IDF of words and pairs (topics:
of up to four characters, which other languages share) with logistic regression. Grid load: the load a day before (what
a forecaster has without a model), and scikit-learn's gradient boosting on the same columns as numbers, that of the day
before included. For entities the peer is Trainer, in benchmarks/train_speed.py, which trains both on the same batches.
The interval is that of the mean over seeds, by the t distribution.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from gb_ray import machine
from gb_ray.corpus.corpus import Corpus

ROOT = Path(__file__).parent.parent
MAIN = {
    "intents": "accuracy",
    "feedback": "accuracy",
    "topics": "accuracy",
    "entities": "entity_f1",
    "grid_load": "mae_load",
    "translations": "recall_at_1",
}


@contextmanager
def one_ray() -> Iterator[str]:
    """A Ray for several `gb finetune`: its address."""
    import ray

    with machine.ray_up("local"):
        yield ray.get_runtime_context().gcs_address


def finetune(recipe: str, seed: int, home: Path, address: str, overrides: list[str]) -> dict[str, Any]:
    """The account of one run of a recipe's file, on the Ray at an address."""
    command = [str(Path(sys.executable).parent / "gb"), "finetune", recipe, "--home", str(home)]
    command += ["--ray", address, "--json", f"seed={seed}", *overrides]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True)
    return dict(json.loads(done.stdout))


def rows(corpus: Corpus, split: str, columns: list[str]) -> dict[str, list[Any]]:
    """Columns of a split's samples."""
    tables = [
        pq.read_table(corpus.path / shard.path, columns=columns) for shard in corpus.manifest.splits[split].shards
    ]
    return {name: [value for table in tables for value in table[name].to_pylist()] for name in columns}


def linear(corpus: Corpus, characters: bool) -> dict[str, float]:
    """TF-IDF, of words or of characters, and logistic regression."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import accuracy_score, f1_score
    from sklearn.pipeline import make_pipeline

    train, test = (rows(corpus, split, ["text", "label_name"]) for split in ("train", "test"))
    pieces: dict[str, Any] = (
        {"ngram_range": (1, 2)} if not characters else {"analyzer": "char_wb", "ngram_range": (1, 4)}
    )
    model = make_pipeline(TfidfVectorizer(sublinear_tf=True, **pieces), LogisticRegression(C=10, max_iter=1000))
    found = model.fit(train["text"], train["label_name"]).predict(test["text"])
    return {
        "accuracy": accuracy_score(test["label_name"], found),
        "macro_f1": f1_score(test["label_name"], found, average="macro"),
    }


def boosted(corpus: Corpus) -> dict[str, dict[str, float]]:
    """Gradient boosting on numbers, and the load a day before. The split's rows are found by their times' order.

    Raises RuntimeError when the corpus is not of the rows that have all columns: the peers would see others.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.metrics import mean_absolute_error, r2_score

    source, splits = corpus.manifest.section["sources"][0], corpus.manifest.splits
    table = pq.read_table(ROOT / source["uri"]).to_pandas()
    table = table[table["pid"] == source["where"]["pid"]].sort_values("index").reset_index(drop=True)
    table["before"] = table.set_index("index")["load"].reindex(table["index"] - np.timedelta64(1, "D")).to_numpy()
    read = ["windspeed_100m", "winddeg", "radiation", "temp", "clouds", "humidity", "rain", "before"]
    table = table.dropna(subset=["load", *read])  # the corpus quarantines the others
    if len(table) != corpus.manifest.funnel.samples:
        raise RuntimeError(f"{len(table)} rows have all columns, but the corpus has {corpus.manifest.funnel.samples}")
    table["hour"] = table["index"].dt.hour + table["index"].dt.minute / 60
    table["weekday"] = table["index"].dt.weekday
    columns = [*read, "hour", "weekday"]
    train, test = table.iloc[: splits["train"].samples], table.iloc[-splits["test"].samples :]
    model = HistGradientBoostingRegressor(random_state=0).fit(train[columns], train["load"])
    persistence = ((test["before"] - test["load"]) ** 2).mean()
    return {
        name: {
            "mae_load": mean_absolute_error(test["load"], found),
            "r2_load": r2_score(test["load"], found),
            "skill_load": 1 - ((found - test["load"]) ** 2).mean() / persistence,
        }
        for name, found in (("gradient boosting", model.predict(test[columns])), ("the day before", test["before"]))
    }


def show(recipe: str, accounts: list[dict[str, Any]], peers: dict[str, dict[str, float]]) -> None:
    """A line a metric: the mean over seeds, before training, the peers. Then calibration and languages."""
    task = next(iter(accounts[0]["metrics"]["test"]))
    before = accounts[0]["before"].get("test", {}).get(task, {})
    for name in accounts[0]["metrics"]["test"][task]:
        values = [account["metrics"]["test"][task][name] for account in accounts]
        told = f"before {before[name]:.4f}, " if name in before else ""
        told += ", ".join(f"{peer} {found[name]:.4f}" for peer, found in peers.items() if name in found)
        print(f"{'*' if name == MAIN[recipe] else ' '} {name:16}{spread(values)}   {told}")
    errors = [account["calibration"][task]["test_ece"] for account in accounts if account["calibration"]]
    for when in ("before", "after") if errors else ():
        print(f"  calibration error {when} scaling {spread([one[when] for one in errors])}")
    slices = [one for account in accounts for one in account["slices"]["test"][task] if one["by"] == "language"]
    for language in sorted({one["name"] for one in slices}):
        own = [one for one in slices if one["name"] == language and MAIN[recipe] in one["metrics"]]
        if own and len(accounts) == len(own):
            print(f"  {language}: {own[0]['samples']} samples {spread([one['metrics'][MAIN[recipe]] for one in own])}")


def spread(values: list[float]) -> str:
    """Mean, standard deviation over seeds, and the 95 % interval of the mean."""
    mean = statistics.mean(values)
    if len(values) < 2:
        return f"{mean:9.4f}"
    from scipy.stats import t

    sd = statistics.stdev(values)
    half = t.ppf(0.975, len(values) - 1) * sd / len(values) ** 0.5
    return f"{mean:9.4f} ± {sd:.4f} ({mean - half:.4f} to {mean + half:.4f})"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", choices=MAIN, nargs="?", default="intents")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--at-once", type=int, default=1, help="seeds that are trained at the same time")
    parser.add_argument("--home", type=Path, default=Path.home() / ".gb_ray")
    parser.add_argument("--json", type=Path)
    parser.add_argument("overrides", nargs="*")
    asked = parser.parse_intermixed_args()
    recipe = f"jobs/recipes/{asked.recipe}.yaml"
    with one_ray() as address, ThreadPoolExecutor(asked.at_once) as pool:
        accounts = list(
            pool.map(lambda seed: finetune(recipe, seed, asked.home, address, asked.overrides), range(asked.seeds))
        )
    corpus = Corpus.find(asked.home, accounts[0]["corpus"]["digest"])
    peers: dict[str, dict[str, float]] = {}
    if asked.recipe in ("intents", "feedback", "topics"):
        peers["TF-IDF, logistic regression"] = linear(corpus, asked.recipe == "topics")
    elif asked.recipe == "grid_load":
        peers |= boosted(corpus)
    print(f"{asked.recipe}: {corpus.manifest.splits['test'].samples} test samples, {asked.seeds} seeds")
    show(asked.recipe, accounts, peers)
    if asked.json:
        asked.json.write_text(json.dumps({"accounts": accounts, "peers": peers}, indent=1))


if __name__ == "__main__":
    main()
