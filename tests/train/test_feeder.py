"""Each step has its own micro-batches, whether made ahead or not, and workers agree on how many they are."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import run
from small_job import small_job

from gb_ray.corpus.corpus import Corpus
from gb_ray.corpus.reading.reader import Reader
from gb_ray.tasks.section import SequenceClassificationSection
from gb_ray.tasks.task import make
from gb_ray.train.agreement import Agreement, shared
from gb_ray.train.batch import Layout
from gb_ray.train.feeder import Feeder, Prepared, Share
from gb_ray.train.job import Job
from gb_ray.train.orders import Order
from gb_ray.train.schedule import Step
from gb_ray.train.worker import Worker

PLAN = [Step(k, 0, 8 * k, 8 * k + 8) for k in range(4)]
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, backbone: Path) -> Job:
    """Without dropout."""
    return small_job(tmp_path_factory.mktemp("feeder"), backbone, dropout=0.0, workers=2, micro_tokens=64)


def feeder(job: Job) -> Feeder:
    task = make(SequenceClassificationSection(type="sequence-classification"), "unused", 64)
    reader = Reader(Corpus.open(job.corpora["topic"]), "train", 0)
    return Feeder(reader, Layout((task,), 0, True, 0, torch.device("cpu"), together=True), 64)


def tokens(prepared: Prepared) -> list[list[int]]:
    return [group.input_ids.flatten().tolist() for micro in prepared.micro for group in micro.groups]


def test_what_was_made_ahead_is_what_would_have_been_made_then(job: Job) -> None:
    ahead, alone = feeder(job), feeder(job)
    for step, following in zip(PLAN, [*PLAN[1:], None], strict=True):
        found = ahead.take(step, following)
        assert tokens(found) == tokens(alone.take(step, None))
        assert found.share == Share(len(found.micro), (8,))
        assert alone.ahead() == Share(0, (0,))
    assert ahead.ahead() == Share(0, (0,))


def test_a_step_that_was_not_announced_is_made_all_the_same(job: Job) -> None:
    made = feeder(job)
    made.take(PLAN[0], PLAN[1])
    assert tokens(made.take(PLAN[3], None)) == tokens(feeder(job).take(PLAN[3], None))


def test_workers_know_the_most_micro_batches_and_all_answers() -> None:
    one, other = run(2, _agree)
    assert one == other == ((3.5, 30, 33, True, False, Share(5, (9,))), Share(5, (9,)))


def _agree() -> Any:
    rank = torch.distributed.get_rank()
    share = (Share(2, (8,)), Share(5, (1,)))[rank]
    sizes = [_Sized((10, 11)), _Sized((10, 11))] if rank else [_Sized((10, 11))]
    all = Agreement.of((1.0, 2.5)[rank], sizes, Order(save=rank == 1, stop=False), share)
    return (all.loss, all.tokens, all.computed, all.save, all.stop, all.ahead), shared(share)


class _Sized:
    def __init__(self, size: tuple[int, int]):
        self.size = size


def test_packed_and_padded_workers_compute_the_same_losses(job: Job) -> None:
    one, other = run(2, _both, job)
    assert one == other
    (packed, computed), (padded, more) = one
    assert packed == pytest.approx(padded, abs=TOLERANCE)
    assert computed <= more


def _both(job: Job) -> list[tuple[list[float], int]]:
    return [_losses(job, packed) for packed in (True, False)]


def _losses(job: Job, packed: bool) -> tuple[list[float], int]:
    worker = Worker(job, packed)
    assert worker.layout.packed == packed
    losses, computed = [], 0
    for step in islice(worker.steps(), 4):
        micro, answers = worker.lay_out(step)
        all = worker.agree(worker.gradients(step, micro, answers), micro, Order(save=False, stop=False))
        worker.engine.step(1.0)
        losses.append(all.loss)
        computed += all.computed
    return losses, computed
