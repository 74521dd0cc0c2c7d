"""What a model made of each sample of a split, kept so that nothing has to be computed twice.

scored/after-TASK-test.parquet    id, source, language, tokens, statistics, target, logits (what the task kept of them)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gb_ray.corpus.catalogue import rows
from gb_ray.corpus.corpus import Corpus
from gb_ray.measure.bootstrap import Array, Summary
from gb_ray.model import package, several
from gb_ray.model.section import ModelSection
from gb_ray.section import UserError
from gb_ray.tasks.alignment import Alignment, union
from gb_ray.tasks.task import Task
from gb_ray.train.evaluate import evaluate
from gb_ray.train.pace import Pace

FOLDER = "scored"
LARGEST = 64 << 20
"""Bytes of logits that are written; without them, all but calibration can be found again."""
MEASURED = ("validation", "test")
T = TypeVar("T")
Metrics = dict[str, dict[str, dict[str, float]]]
"""{split: {task: {metric: value}}}."""


@dataclass(frozen=True)
class Scores:
    """One model on one split. `about` has id, source, language and tokens of each sample, in order of id.

    `pace` is what computing them took; scores that were read from a file have none. `logits` are those of the model,
    divided by the `temperature`.
    """

    task: Task
    labels: list[str]
    about: pa.Table
    statistics: Array
    targets: list[Any]
    logits: list[NDArray[np.floating]] | None
    pace: Pace | None = None
    temperature: float = 1.0

    @property
    def summary(self) -> Summary:
        """From sums of statistics to metrics."""
        return partial(self.task.from_sums, labels=self.labels)

    @cached_property
    def metrics(self) -> dict[str, float]:
        """Of all samples together, to six decimals; one that is not defined is absent."""
        found = self.summary(self.statistics.sum(axis=0))
        return {name: round(float(value), 6) for name, value in found.items() if not np.isnan(value)}

    def restated(self, task: Task) -> Scores:
        """The same answers on the scale of `task`, that of another model, whose metrics can be compared with these."""
        if self.logits is None:
            raise ValueError("scores that were read without their logits cannot be restated")
        logits = self.task.restated(self.logits, task)
        if logits is self.logits:
            return self
        return replace(self, task=task, logits=logits, statistics=task.statistics(logits, self.targets, self.labels))

    def cooled(self, temperature: float) -> Scores:
        """What a model answers with a temperature, of scores without one."""
        if temperature == 1.0 or self.logits is None:
            return self
        logits = [(one.astype(np.float64) / temperature).astype(one.dtype) for one in self.logits]
        statistics = self.task.statistics(logits, self.targets, self.labels)
        return replace(self, logits=logits, statistics=statistics, temperature=temperature)

    def save(self, path: Path) -> None:
        """Write them as parquet, without the logits if those are large."""
        path.parent.mkdir(exist_ok=True)
        columns = {name: self.about[name] for name in self.about.column_names}
        columns |= {"statistics": pa.array(list(self.statistics)), "target": pa.array(self.targets)}
        known: dict[str, Any] = {"labels": self.labels, "temperature": self.temperature}
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
        heat = known.get("temperature", 1.0)
        return cls(task, known["labels"], about, statistics, targets, logits, temperature=heat)


Found = dict[str, dict[str, Scores]]
"""{split: {task: what a model made of it}}."""


def of_split(
    make_model: Callable[[], Any],
    task: Task,
    corpus: Corpus,
    split: str,
    workers: int,
    has: list[str] | None = None,
    count: list[str] | None = None,
) -> Scores:
    """What the model that `make_model` returns makes of a split that has samples. Ray must be up; see `evaluate`.

    It `has` those labels, absent the corpus'. All that `count` have a place in the statistics, absent the corpus'.
    """
    task, labels = task.prepare(corpus), corpus.manifest.labels
    count = labels if count is None else count
    asked, told = Alignment(labels, count), Alignment(labels if has is None else has, count)
    scored, pace = evaluate(make_model, task, corpus, split, workers)
    logits, targets = [told.logits(entry[1]) for entry in scored], [asked.label(entry[2]) for entry in scored]
    return Scores(task, count, _about(corpus, split), task.statistics(logits, targets, count), targets, logits, pace)


def of_model(
    model: Path,
    corpora: Mapping[str, Corpus],
    splits: tuple[str, ...],
    workers: int,
    also: Mapping[str, list[str]] | None = None,
) -> Found:
    """Of an exported model without its temperatures, on the splits that have samples. Ray must be up.

    `corpora` go by task, and may be of some of the model's alone. A label that the model has and the corpus has not, or
    the other way round, counts as well. So do those in `also`, by task: with each other's labels there the statistics
    of two models can be compared.
    """
    tasks = package.tasks_of(model, package.verify(model))
    makers = _called({name: partial(several.exported, model, name, task) for name, task in tasks.items()}, corpora)
    has, also = _called(package.labels_of(package.read(model)), corpora), _called(also or {}, corpora)
    return _of(makers, _called(tasks, corpora), corpora, splits, workers, has, also)


def of_new(
    section: ModelSection, tasks: Mapping[str, Task], corpora: Mapping[str, Corpus], seed: int, workers: int
) -> Found:
    """Of the backbone with new, untrained heads, or with those it has. Ray must be up; the tasks are prepared."""
    others = [*tasks.values()]
    makers = {
        name: partial(several.new, section, name, task, corpora[name].manifest.labels, seed, others)
        for name, task in tasks.items()
    }
    labels = {name: corpus.manifest.labels for name, corpus in corpora.items()}
    return _of(makers, tasks, corpora, MEASURED, workers, labels, {})


def metrics(found: Found) -> Metrics:
    """Of all splits and tasks."""
    return {split: {task: one.metrics for task, one in tasks.items()} for split, tasks in found.items()}


def joined(tasks: Mapping[str, dict[str, float]]) -> dict[str, float]:
    """The metrics of one split, as a gate names them: METRIC, of several tasks TASK.METRIC."""
    if len(tasks) == 1:
        return next(iter(tasks.values()))
    return {f"{task}.{name}": value for task, values in tasks.items() for name, value in values.items()}


def _called(by_task: Mapping[str, T], corpora: Mapping[str, Corpus]) -> Mapping[str, T]:
    """By the names of the corpora's tasks: of one task each, they may differ."""
    if len(by_task) == len(corpora) == 1:
        return dict(zip(corpora, by_task.values(), strict=True))
    return by_task


def _of(
    makers: Mapping[str, Callable[[], Any]],
    tasks: Mapping[str, Task],
    corpora: Mapping[str, Corpus],
    splits: tuple[str, ...],
    workers: int,
    has: Mapping[str, list[str]],
    also: Mapping[str, list[str]],
) -> Found:
    count = {name: union(corpus.manifest.labels, has[name], also.get(name, [])) for name, corpus in corpora.items()}
    found = {
        split: {
            name: of_split(makers[name], tasks[name], corpus, split, workers, has[name], count[name])
            for name, corpus in corpora.items()
            if _samples(corpus, split)
        }
        for split in splits
    }
    return {split: scores for split, scores in found.items() if scores}


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
