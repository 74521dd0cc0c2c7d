"""What a model made of each sample of a split, kept so that nothing has to be computed twice.

scored/after-test.parquet    id, source, language, tokens, statistics, target, logits (what the task kept of them)
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gb_ray.corpus.catalogue import rows
from gb_ray.corpus.corpus import Corpus
from gb_ray.measure.bootstrap import Array, Summary
from gb_ray.model import load, package
from gb_ray.section import UserError
from gb_ray.tasks.task import Task
from gb_ray.train.evaluate import evaluate

FOLDER = "scored"
LARGEST = 64 << 20
"""Bytes of logits that are written; without them, all but calibration can be found again."""
Metrics = dict[str, dict[str, dict[str, float]]]
"""{split: {task: {metric: value}}}."""


@dataclass(frozen=True)
class Scores:
    """One model on one split. `about` has id, source, language and tokens of each sample, in order of id."""

    task: Task
    labels: list[str]
    about: pa.Table
    statistics: Array
    targets: list[Any]
    logits: list[NDArray[np.floating]] | None

    @property
    def summary(self) -> Summary:
        """From sums of statistics to metrics."""
        return partial(self.task.from_sums, labels=self.labels)

    @cached_property
    def metrics(self) -> dict[str, float]:
        """Of all samples together, to six decimals; one that is not defined is absent."""
        found = self.summary(self.statistics.sum(axis=0))
        return {name: round(float(value), 6) for name, value in found.items() if not np.isnan(value)}

    def save(self, path: Path) -> None:
        """Write them as parquet, without the logits if those are large."""
        path.parent.mkdir(exist_ok=True)
        columns = {name: self.about[name] for name in self.about.column_names}
        columns |= {"statistics": pa.array(list(self.statistics)), "target": pa.array(self.targets)}
        known: dict[str, Any] = {"labels": self.labels}
        if self.logits is not None and sum(one.nbytes for one in self.logits) <= LARGEST:
            columns["logits"] = pa.array([one.ravel() for one in self.logits])
            known |= {"shape": [-1, *self.logits[0].shape[1:]], "dtype": str(self.logits[0].dtype)}
        table = pa.table(columns).replace_schema_metadata({"scores": json.dumps(known)})
        beside = path.with_name(f"{path.name}.part")
        pq.write_table(table, beside, compression="zstd")
        beside.rename(path)

    @classmethod
    def open(cls, path: Path, task: Task) -> Scores:
        """Those that `save` wrote, of a model of this task."""
        table = pq.read_table(path)
        known = json.loads(table.schema.metadata[b"scores"])
        targets = [np.asarray(one) if isinstance(one, list) else one for one in table["target"].to_pylist()]
        statistics = np.array(table["statistics"].to_pylist(), np.float64)
        logits = None
        if "logits" in table.column_names:
            flat = (np.array(one, known["dtype"]) for one in table["logits"].to_pylist())
            logits = [one.reshape(known["shape"]) for one in flat]
        about = table.select(["id", "source", "language", "tokens"])
        return cls(task, known["labels"], about, statistics, targets, logits)


def of_split(make_model: Callable[[], Any], task: Task, corpus: Corpus, split: str, workers: int) -> Scores:
    """What the model that `make_model` returns makes of a split that has samples. Ray must be up; see `evaluate`."""
    task = task.prepare(corpus)
    scored = evaluate(make_model, task, corpus, split, workers)
    logits, targets = [entry[1] for entry in scored], [entry[2] for entry in scored]
    statistics = task.statistics(logits, targets, corpus.manifest.labels)
    return Scores(task, corpus.manifest.labels, _about(corpus, split), statistics, targets, logits)


def of_splits(
    make_model: Callable[[], Any], task: Task, corpus: Corpus, splits: tuple[str, ...], workers: int
) -> dict[str, Scores]:
    """Of each split that has samples."""
    there = [split for split in splits if _samples(corpus, split)]
    return {split: of_split(make_model, task, corpus, split, workers) for split in there}


def of_model(model: Path, corpus: Corpus, splits: tuple[str, ...], workers: int) -> dict[str, Scores]:
    """Of an exported model, on each split that has samples. Ray must be up."""
    task = package.task_of(model, package.verify(model))
    return of_splits(partial(load.exported, model, task.architecture), task, corpus, splits, workers)


def metrics(scores: dict[str, Scores], task: str) -> Metrics:
    """Of all splits."""
    return {split: {task: one.metrics} for split, one in scores.items()}


def _samples(corpus: Corpus, split: str) -> int:
    if split not in corpus.manifest.splits:
        raise UserError(f"{corpus.uri}: no split {split!r}; it has {', '.join(corpus.manifest.splits)}")
    return corpus.manifest.splits[split].samples


def _about(corpus: Corpus, split: str) -> pa.Table:
    columns = ["id", "source", "language", "input_ids"]
    table = pa.concat_tables([rows.read(corpus, shard, columns) for shard in corpus.manifest.splits[split].shards])
    names = pa.array([source.uri.partition("?")[0] for source in corpus.manifest.sources])
    source, tokens = pc.take(names, table["source"]), pc.list_value_length(table["input_ids"])
    found = {"id": table["id"], "source": source, "language": table["language"], "tokens": tokens}
    return pa.table(found).sort_by("id")
