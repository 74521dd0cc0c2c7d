"""Three tasks in one model against three models: what each task loses, and what an answer to all three costs.

    python benchmarks/three_tasks.py [--seeds 1] [--at-once 1] [--tagged] [--home DIR] [--json FILE] [KEY=VALUE ...]

The recipe three_tasks is run as it stands, and three times with the sources and the task of one task alone, the rest of
it the same. A sample is thus seen as often in either. With `--at-once 2 train.workers=1` two cores train two models.
Serving: 256 texts of the three test splits are answered by the one model, which answers all three tasks, and by the
three in turn, in rounds, on one thread. Goals: no task loses more than a point; an answer takes a third of the time.
A head is taught on the texts of its own task: how many entities it finds in those of the others is told, too. With
`--tagged` the one model learns entities from the train texts of the other tasks as well, in an epoch from 701 of the
topics and 2,001 of the intents, with the tags that the model of entities alone of the first seed gives them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq
import torch
import yaml
from task_results import ROOT, finetune, one_ray

from gb_ray.corpus.corpus import Corpus
from gb_ray.model.predictor import Predictor

RECIPE = ROOT / "jobs" / "recipes" / "three_tasks.yaml"
MAIN = {"entities": "entity_f1", "topics": "accuracy", "intents": "accuracy"}
TEXTS, AT_ONCE, ROUNDS = 256, 16, 5
SEEN = {"topics": 1.0, "intents": 0.2}


def alone(task: str, folder: Path) -> Path:
    """The recipe of one of the tasks."""
    content = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    sources = [source for source in content["corpus"]["sources"] if source.pop("task") == task]
    content["corpus"]["sources"] = sources
    content["tasks"] = {task: content["tasks"][task]}
    content["train"].pop("balance")
    if content["tasks"][task]["type"] == "token-classification":
        content["model"].pop("pooler")  # its head reads the tokens
    content["name"], content["registry"] = f"alone_{task}", {"policy": str(folder / "policy.yaml")}
    (folder / "policy.yaml").write_text("{}")
    path = folder / f"alone_{task}.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def tagged(model: str, folder: Path) -> Path:
    """The recipe of all three with more rows for the entities: train texts of the others, as `model` tags them."""
    content = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    sources = content["corpus"]["sources"]
    for source in [one for one in sources if one["split"] == "train" and one["task"] != "entities"]:
        uri = folder / f"tagged_{source['task']}.jsonl"
        uri.unlink(missing_ok=True)
        where = [f"--where={key}={value}" for key, value in source.get("where", {}).items()]
        command = [str(Path(sys.executable).parent / "gb"), "predict", model, "--rows", source["uri"], *where]
        subprocess.run([*command, "--out", str(uri)], cwd=ROOT, check=True, stdout=sys.stderr)
        about = {key: source[key] for key in ("split", "language", "licence")}
        sources.append({"task": "entities", "uri": str(uri), "weight": SEEN[source["task"]], **about})
    content["name"], content["registry"] = "three_tagged", {"policy": str(folder / "policy.yaml")}
    path = folder / "tagged.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def seconds(models: list[Predictor], texts: list[str]) -> float:
    """To answer all texts with each of the models."""
    began = time.perf_counter()
    for model in models:
        for first in range(0, len(texts), AT_ONCE):
            model.predict(model.encode(texts[first : first + AT_ONCE]))
    return time.perf_counter() - began


def serving(together: Path, apart: list[Path], texts: list[str]) -> tuple[float, float]:
    """Seconds of the one model and of the three, medians of rounds."""
    torch.set_num_threads(1)
    one, three = [Predictor(together)], [Predictor(path) for path in apart]
    rounds = [(seconds(one, texts), seconds(three, texts)) for _ in range(ROUNDS)]
    return statistics.median(a for a, _ in rounds), statistics.median(b for _, b in rounds)


def entities(model: Predictor, texts: list[str]) -> float:
    """Found in a text, on average."""
    found = 0
    for first in range(0, len(texts), AT_ONCE):
        for answer in model.predict(model.encode(texts[first : first + AT_ONCE])):
            # Of several tasks the answer is by task.
            found += len(answer["entities"]["entities"] if "topics" in answer else answer["entities"])
    return found / len(texts)


def texts_of(home: Path, digest: str) -> list[str]:
    """Some of the test split's texts."""
    corpus = Corpus.find(home, digest)
    rows = pq.read_table(corpus.path / corpus.manifest.splits["test"].shards[0].path).slice(0, TEXTS // 3).to_pylist()
    return [row["text"] if "text" in row else " ".join(row["tokens"]) for row in rows]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--at-once", type=int, default=1, help="models that are trained at the same time")
    parser.add_argument("--tagged", action="store_true", help="entities in the other tasks' texts are learnt, too")
    parser.add_argument("--home", type=Path, default=Path.home() / ".gb_ray")
    parser.add_argument("--json", type=Path)
    parser.add_argument("overrides", nargs="*")
    asked = parser.parse_intermixed_args()
    asked.home.mkdir(parents=True, exist_ok=True)
    recipes = {"together": RECIPE} | {task: alone(task, asked.home) for task in MAIN}
    with one_ray() as address, ThreadPoolExecutor(asked.at_once) as pool:
        if asked.tagged:
            first = finetune(str(recipes["entities"]), 0, asked.home, address, asked.overrides)
            recipes["together"] = tagged(first["model"]["path"], asked.home)
        runs = [(str(recipe), seed) for seed in range(asked.seeds) for recipe in recipes.values()]
        accounts = list(pool.map(lambda run: finetune(*run, asked.home, address, asked.overrides), runs))
    of_each = {name: accounts[number :: len(recipes)] for number, name in enumerate(recipes)}
    together, apart = of_each.pop("together"), of_each
    texts_by_task = {task: texts_of(asked.home, apart[task][0]["corpus"]["digest"]) for task in MAIN}
    texts = [text for own in texts_by_task.values() for text in own]
    paths = [Path(apart[task][0]["model"]["path"]) for task in MAIN]
    joint = Path(together[0]["model"]["path"])
    one, three = serving(joint, paths, texts)
    print(f"{'':12}{'three models':>14}{'one model':>12}{'points':>9}")
    for task, metric in MAIN.items():
        own = statistics.mean(account["metrics"]["test"][task][metric] for account in apart[task])
        shared = statistics.mean(account["metrics"]["test"][task][metric] for account in together)
        print(f"{task:12}{own:14.4f}{shared:12.4f}{100 * (shared - own):+9.1f}")
    print(f"{len(texts)} texts: {three:.2f} s and {one:.2f} s: {one / three:.2f} of the time (goal 0.33)")
    for task in ("topics", "intents"):
        own, shared = (entities(Predictor(path), texts_by_task[task]) for path in (paths[0], joint))
        print(f"entities found in a text of {task}: {own:.2f} by the model of entities, {shared:.2f} by the one")
    if asked.json:
        asked.json.write_text(json.dumps({"together": together, "apart": apart, "seconds": [one, three]}, indent=1))


if __name__ == "__main__":
    main()
