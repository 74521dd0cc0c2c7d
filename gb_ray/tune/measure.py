"""The validation metrics of a model in the middle of its training, in the process that trains it."""

from __future__ import annotations

from typing import Any

import torch

from gb_ray.corpus.corpus import Corpus
from gb_ray.corpus.reading.reader import Reader, Sample
from gb_ray.measure.scores import joined
from gb_ray.tasks.task import Task
from gb_ray.train.batch import layout
from gb_ray.train.job import Job
from gb_ray.train.worker import Worker
from gb_ray.tune.metric import SPLIT


def validation(job: Job) -> list[Sample]:
    """The samples of all tasks."""
    corpora = [Corpus.open(job.corpora[name]) for name in job.recipe.tasks]
    with Reader(corpora, SPLIT, 0) as reader:
        return list(reader.once())


def metrics(worker: Worker, samples: list[Sample]) -> dict[str, float]:
    """As `joined` names them, in the precision that is trained in; training goes on as if nothing had been asked."""
    model: Any = worker.engine.module
    model.eval()
    scored = _scored(model, worker, samples)
    model.train()
    found = {}
    for name, task, labels, one in zip(worker.job.recipe.tasks, worker.tasks, worker.labels, scored, strict=True):
        found[name] = task.metrics([logits for logits, _ in one], [target for _, target in one], labels)
    return joined(found)


@torch.inference_mode()
def _scored(model: Any, worker: Worker, samples: list[Sample]) -> list[list[tuple[Any, Any]]]:
    """By task: what it keeps of the logits, and the target, of each of its samples."""
    scored: list[list[tuple[Any, Any]]] = [[] for _ in worker.tasks]
    for groups in layout(samples, min(task.tokens_at_once for task in worker.tasks), worker.layout.packed):
        for group in groups:
            logits = model(**worker.layout.group(group).inputs).logits
            by_task = logits if len(worker.tasks) > 1 else (logits,)
            for number, (task, mine) in enumerate(zip(worker.tasks, by_task, strict=True)):
                own = [sample for sample in group if sample.task == number]
                scored[number] += _of_group(task, own, mine.float().cpu(), worker.layout.packed)
    return scored


def _of_group(task: Task, samples: list[Sample], logits: torch.Tensor, packed: bool) -> list[tuple[Any, Any]]:
    if packed and logits.ndim == 3:  # [1, tokens, labels]
        rows: Any = logits[0].split([len(sample.input_ids) for sample in samples])
    else:
        rows = logits
    return [(task.kept(row.numpy(), sample.label), sample.label) for sample, row in zip(samples, rows, strict=True)]
