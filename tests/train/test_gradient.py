"""The gradient of a step is that of one big batch, whatever the split into workers and micro-batches.

Named after what hurt others: a mean of means, which weights a short micro-batch as much as a long one.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path

import processes
import pytest
import torch
from engines import end, held

from gb_ray.corpus.corpus import Corpus
from gb_ray.corpus.reading.reader import Reader
from gb_ray.model import load
from gb_ray.recipe import Recipe
from gb_ray.tasks.task import make
from gb_ray.train.agreement import shared
from gb_ray.train.batch import layout
from gb_ray.train.feeder import Share
from gb_ray.train.job import Job
from gb_ray.train.schedule import Step
from gb_ray.train.worker import Worker

sys.path.append(str(Path(__file__).parent.parent / "corpus"))

from synthetic import make_corpus

TOLERANCE = 1e-5
"""Of gradients in fp32 against those in fp64, see `worst`."""
STEP = Step(0, 0, 0, 24)
Gradients = dict[str, torch.Tensor]
Split = tuple[int, int, bool]
"""(ZeRO stage, micro-batches a worker, packed)."""
ALL = list(product((0, 1, 2, 3), (1, 2, 4), (False, True)))


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, backbone: Path) -> Job:
    """Tags of texts of 3 to 30 tokens; the model has no dropout, which every worker draws for itself."""
    folder = tmp_path_factory.mktemp("gradient")
    make_corpus(folder / "corpus", {"train": [(1.0, 60)]}, lanes=6, shard_rows=4, tokens=(3, 30), label="tokens")
    recipe = Recipe.model_validate(
        {
            "name": "gradient",
            "corpus": {"sources": [{"uri": "none.jsonl"}], "lanes": 6},
            "tasks": {"tag": {"type": "token-classification"}},
            "model": {"path": str(big_vocabulary(backbone, folder / "model")), "max_tokens": 64, "dropout": 0.0},
            "train": {"batch": 24, "precision": "fp32"},
        }
    )
    return Job(recipe, {"tag": folder / "corpus"}, folder, "k" * 64, time.time(), False, 0, {"tasks": {"tag": {}}}, {})


def big_vocabulary(backbone: Path, path: Path) -> Path:
    """The tests' model with embeddings for the tokens of made corpora."""
    import shutil

    from synthetic import VOCABULARY
    from transformers import BertModel

    shutil.copytree(backbone, path)
    torch.manual_seed(0)
    model = BertModel.from_pretrained(backbone)
    model.resize_token_embeddings(VOCABULARY)
    model.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def expected(job: Job) -> Gradients:
    return one_big_batch(job)


@pytest.mark.parametrize(
    ("workers", "splits"),
    [
        (1, [(0, 4, True), (3, 2, False)]),
        (2, [(1, 2, True), (2, 4, False), (3, 1, True), (0, 1, False)]),
        pytest.param(3, [(0, 2, True), (2, 1, True), (1, 4, False), (3, 4, True)], marks=pytest.mark.chaos),
    ],
)
def test_gradients_are_those_of_one_big_batch(job: Job, expected: Gradients, workers: int, splits: list[Split]) -> None:
    for split, found in processes.run(workers, gradients, job, splits)[0]:
        assert worst(found, expected) < TOLERANCE, split


@pytest.mark.chaos
@pytest.mark.timeout(1300)
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_gradients_of_every_split(job: Job, expected: Gradients, workers: int) -> None:
    for split, found in processes.run(workers, gradients, job, ALL, timeout=1200)[0]:
        assert worst(found, expected) < TOLERANCE, split


@pytest.mark.chaos
def test_recomputed_activations_give_the_same_gradients(job: Job) -> None:
    splits = [(0, 2, True), (2, 2, True), (3, 2, True)]
    kept, again = (processes.run(2, gradients, with_train(job, recompute=value), splits)[0] for value in (False, True))
    for (split, one), (_, other) in zip(kept, again, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one), split


def worst(found: Gradients, expected: Gradients) -> float:
    """The largest difference, as a share of the largest gradient of its parameter (the keys' biases have none)."""
    assert found.keys() == expected.keys()
    largest = {name: float(gradient.abs().max()) for name, gradient in expected.items()}
    least = max(largest.values()) / 1000
    return max(float((found[n] - expected[n]).abs().max()) / max(largest[n], least) for n in expected)


def gradients(
    job: Job, splits: list[Split], prepare: Callable[[Worker], None] | None = None
) -> list[tuple[Split, Gradients]]:
    """The gradients of the first step by every split, on every rank, of a worker that `prepare` has changed."""
    return [(split, _gradients(job, *split, prepare)) for split in splits]


def _gradients(job: Job, zero: int, count: int, packed: bool, prepare: Callable[[Worker], None] | None) -> Gradients:
    worker = Worker(replace(job, zero=zero), packed)
    if prepare:
        prepare(worker)
    with Reader(Corpus.open(job.corpora["tag"]), "train", job.recipe.seed, worker.rank, worker.world) as reader:
        samples = reader.step(STEP.epoch, STEP.start, STEP.stop)
    answers = worker.layout.answers(samples)
    for micro_tokens in range(800, 1, -5):
        share = shared(Share(len(layout(samples, micro_tokens, worker.layout.packed)), answers))
        if share.micro == count:
            break
    micro = worker.layout.micro(samples, micro_tokens)
    most = shared(Share(len(micro), (0,))).micro
    assert most == count or (zero == 3 and not packed)
    micro += [worker.layout.empty()] * (most - len(micro))
    worker.gradients(STEP, micro, share.answers)
    found = {name: gradient.double().clone() for name, gradient in held(worker.engine)}
    end(worker)
    return found


def with_train(job: Job, **changes: object) -> Job:
    train = job.recipe.train.model_copy(update=changes)
    return replace(job, recipe=job.recipe.model_copy(update={"train": train}))


def one_big_batch(job: Job) -> Gradients:
    """Plain PyTorch in fp64: one sample at a time, the mean over all words of the batch."""
    recipe, corpus = job.recipe, Corpus.open(job.corpora["tag"])
    task = make(recipe.tasks["tag"], recipe.model.path, recipe.model.max_tokens)
    model = load.new(recipe.model, task, corpus.manifest.labels, recipe.seed).double().train()
    with Reader(corpus, "train", recipe.seed) as reader:
        samples = reader.step(STEP.epoch, STEP.start, STEP.stop)
    losses, answers = [], 0
    for sample in samples:
        ids, label = torch.tensor(sample.input_ids)[None].long(), torch.tensor(sample.label).long()
        logits = model(input_ids=ids).logits[0]
        losses.append(torch.nn.functional.cross_entropy(logits, label, ignore_index=-100, reduction="sum"))
        answers += int((label != -100).sum())
    (torch.stack(losses).sum() / answers).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}
