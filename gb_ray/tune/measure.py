"""The validation metrics of a model in the middle of its training, in the process that trains it."""

from __future__ import annotations

from gb_ray.corpus.corpus import Corpus
from gb_ray.corpus.reading.reader import Reader, Sample
from gb_ray.measure.scores import joined
from gb_ray.train.evaluate import groups, score
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
    worker.engine.module.eval()
    with worker.engine.averaged():
        scored = score(worker.engine, worker.layout, groups(worker.layout, samples))
    worker.engine.module.train()
    found = {}
    for name, task, labels, one in zip(worker.job.recipe.tasks, worker.tasks, worker.labels, scored, strict=True):
        found[name] = task.metrics([logits for _, logits, _ in one], [target for _, _, target in one], labels)
    return joined(found)
