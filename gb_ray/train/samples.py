"""The samples that a job trains on."""

from __future__ import annotations

from gb_ray.corpus.corpus import Corpus
from gb_ray.corpus.reading.reader import Reader
from gb_ray.corpus.reading.replay import Replay, drawn
from gb_ray.section import UserError
from gb_ray.tasks.alignment import Alignment
from gb_ray.train.job import Job

NO_PARENT = (
    "train.replay: nothing to replay without a model to go on from; start with gb finetune --from, or set it to 0"
)


def reader(job: Job, worker: int = 0, workers: int = 1) -> Reader | Replay:
    """A worker's reader of the train splits, with what is replayed. Raises UserError when nothing is there for it."""
    corpora, seed = [Corpus.open(job.corpora[name]) for name in job.recipe.tasks], job.recipe.seed
    new = Reader(corpora, "train", seed, worker, workers)
    if not job.old:
        if job.recipe.train.replay:
            raise UserError(NO_PARENT)
        return new
    old = [Corpus.open(job.old[name]) for name in job.recipe.tasks]
    aligned = [Alignment(known.manifest.labels, now.manifest.labels) for known, now in zip(old, corpora, strict=True)]
    return Replay(
        new,
        Reader(old, "train", seed, worker, workers),
        job.recipe.train.replay,
        lambda sample: aligned[sample.task].label(sample.label),
    )


def per_epoch(new: int, replay: float) -> int:
    """Samples in an epoch of all workers that has so many new ones, and this share of replayed ones."""
    return new + drawn(new, replay)
