"""The metric by which trials are ranked: of the validation split, of one task."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from gb_ray.corpus.corpus import Corpus
from gb_ray.corpus.reading.reader import Reader
from gb_ray.measure.scores import joined
from gb_ray.section import UserError
from gb_ray.tasks.base import PerToken
from gb_ray.tasks.task import Task

SPLIT = "validation"


def chosen(wanted: str | None, tasks: Mapping[str, Task], corpora: Mapping[str, Corpus], where: str) -> str:
    """The metric's name as `joined` has it; None wants the one by which the task's models are ranked.

    `tasks` are prepared. Raises UserError when the split has no rows, or the metric is not defined on them.
    """
    for name, corpus in corpora.items():
        if not corpus.manifest.splits[SPLIT].samples:
            raise UserError(
                f"{where}: corpus.splits.validation: task {name} has no row in its validation split, by which trials "
                "are ranked; give it a share, or a source with `split: validation`"
            )
    known = joined({name: dict.fromkeys(_defined(task, corpora[name]), 0.0) for name, task in tasks.items()})
    if wanted is None and len(tasks) == 1:
        return next(iter(tasks.values())).headline
    if wanted not in known:
        found = "required, missing, with several tasks" if wanted is None else f"no metric {wanted!r}"
        raise UserError(f"{where}: search.metric: {found}; on the validation split there are {', '.join(known)}")
    return wanted


def _defined(task: Task, corpus: Corpus) -> list[str]:
    """The metrics of a model whose outputs are all 0; of a task without a head all that it has."""
    labels = corpus.manifest.labels
    head = task.head(labels)
    if not head:
        return list(task.from_sums(np.ones(8), labels))
    with Reader(corpus, SPLIT, 0) as reader:
        samples = list(reader.once())
    width = len(head["id2label"])
    shapes = [(len(s.input_ids), width) if isinstance(task, PerToken) else (width,) for s in samples]
    logits = [task.kept(np.zeros(shape, np.float32), s.label) for s, shape in zip(samples, shapes, strict=True)]
    return list(task.metrics(logits, [sample.label for sample in samples], labels))
