"""A search that trains tiny models on random tokens, with nothing built and no Ray."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from gb_ray.corpus.corpus import Corpus
from gb_ray.recipe import Recipe
from gb_ray.tune.section import SearchSection
from gb_ray.tune.trial import Search

sys.path += [str(Path(__file__).parent.parent / beside) for beside in ("train", "corpus")]

from small_job import small_job
from synthetic import make_corpus

VALUES = {"train.lr": 2e-3, "train.schedule.shape": "cosine"}


def small_search(folder: Path, backbone: Path, tasks: dict[str, str] | None = None, **train: Any) -> Search:
    """One task about texts; or `tasks` {name: what make_corpus calls its labels}. 16 steps a trial."""
    job, tasks = small_job(folder, backbone), tasks or {"topic": "class"}
    kinds = {"class": {"type": "sequence-classification"}, "tokens": {"type": "token-classification"}}
    splits = {"train": [(1.0, 64 // len(tasks))], "validation": [(1.0, 24)]}
    for seed, (name, label) in enumerate(tasks.items()):
        make_corpus(folder / name, splits, lanes=6, shard_rows=16, seed=seed, label=label)
    content = job.recipe.model_dump(mode="json", exclude_unset=True)
    content["corpus"] = {"sources": [{"uri": f"{name}.jsonl", "task": name} for name in tasks]}
    content |= {"tasks": {name: kinds[label] for name, label in tasks.items()}, "train": content["train"] | train}
    recipe = Recipe.model_validate(content)
    corpora = {name: folder / name for name in tasks}
    samples = sum(Corpus.open(path).manifest.splits["train"].epoch for path in corpora.values())
    metric = "accuracy" if len(tasks) == 1 else f"{next(iter(tasks))}.accuracy"
    section = SearchSection.model_validate({"asha": {"factor": 2}, "space": {key: {"choice": [1]} for key in VALUES}})
    return Search(recipe, section, corpora, {}, samples, folder / "search", "k" * 56, False, metric)
