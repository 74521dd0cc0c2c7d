"""One trial: the recipe's training in one process, measured on the validation split after every epoch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gb_ray.train.job import Job


def epochs(job: Job) -> Iterator[dict[str, float]]:
    """The metrics on the validation split after each epoch. A process group of one rank must be there.

    It trains as `loop.train` does, step for step, and keeps nothing: a trial that is interrupted starts anew.
    """
    # Imported here: the driver, which only sends this away, need not wait for them.
    from gb_ray.corpus.corpus import Corpus
    from gb_ray.corpus.reading.reader import Reader
    from gb_ray.train.evaluate import score
    from gb_ray.train.orders import Order
    from gb_ray.train.schedule import rate_factor
    from gb_ray.train.worker import Worker

    worker, section = Worker(job), job.recipe.train
    with Reader(Corpus.open(job.corpus), "validation", 0, 0, 1) as reader:
        samples = list(reader.once())
    per_epoch = worker.total // section.epochs
    for step in worker.steps():
        micro, answers = worker.lay_out(step)
        loss = worker.gradients(step, micro, answers)
        worker.agree(loss, micro, Order(False, False))
        worker.engine.step(rate_factor(step.number, worker.total, section.schedule))
        if (step.number + 1) % per_epoch == 0:
            model: Any = worker.engine.module.eval()
            scored = score(model, worker.task, samples)
            yield worker.task.metrics([one[1] for one in scored], [one[2] for one in scored], worker.labels)
            model.train()
    worker.feeder.close()
    worker.reader.close()
