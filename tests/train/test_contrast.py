"""The loss of an embedding compares all pairs of the global batch, and its gradient is that of one big batch."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import processes
import pytest
import torch
from engines import end, held
from numpy.typing import NDArray
from test_gradient import STEP, Gradients, big_vocabulary, worst
from transformers import BertModel

from gb_ray.corpus.corpus import Corpus
from gb_ray.corpus.reading.reader import Reader
from gb_ray.model import load
from gb_ray.model.section import ModelSection
from gb_ray.recipe import Recipe
from gb_ray.tasks.embedding import Embedding
from gb_ray.tasks.task import make
from gb_ray.train.job import Job
from gb_ray.train.planning.rehearsal import Rehearsal
from gb_ray.train.worker import Worker, _seed

sys.path.append(str(Path(__file__).parent.parent / "corpus"))

from synthetic import make_corpus

TOLERANCE = 5e-5
"""Of gradients in fp32 against those in fp64: that of other losses, times the 5 that a temperature of 0.2 makes."""
Split = tuple[int, int, bool]
"""(ZeRO stage, tokens of a micro-batch, packed)."""
ALL = list(product((0, 1, 2, 3), (40, 120, 1000), (False, True)))


def job_of(folder: Path, backbone: Path, dropout: float, lanes: int = 6) -> Job:
    """Pairs of 4 to 40 tokens, some of them with the group or the document of another."""
    make_corpus(folder / "corpus", {"train": [(1.0, 60)]}, lanes=lanes, shard_rows=4, tokens=(4, 40), label="pairs")
    recipe = Recipe.model_validate(
        {
            "name": "contrast",
            "corpus": {"sources": [{"uri": "none.jsonl"}], "lanes": lanes},
            "tasks": {"near": {"type": "embedding", "temperature": 0.2}},
            "model": {"path": str(big_vocabulary(backbone, folder / "model")), "max_tokens": 64, "dropout": dropout},
            "train": {"batch": 24, "precision": "fp32"},
        }
    )
    described = {"tasks": {"near": {}}}
    return Job(recipe, {"near": folder / "corpus"}, folder, "k" * 64, time.time(), False, 0, described, {})


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, backbone: Path) -> Job:
    return job_of(tmp_path_factory.mktemp("contrast"), backbone, dropout=0.0)


@pytest.fixture(scope="module")
def expected(job: Job) -> tuple[float, Gradients]:
    return one_big_batch(job)


@pytest.mark.parametrize(
    ("workers", "splits"),
    [
        (2, [(0, 40, False), (2, 120, True)]),
        (3, [(0, 120, True)]),
    ],
)
def test_gradients_are_those_of_one_big_batch(
    job: Job, expected: tuple[float, Gradients], workers: int, splits: list[Split]
) -> None:
    check(processes.run(workers, gradients, job, splits), expected)


@pytest.mark.chaos
@pytest.mark.timeout(1300)
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_gradients_of_every_split(job: Job, expected: tuple[float, Gradients], workers: int) -> None:
    check(processes.run(workers, gradients, job, ALL, timeout=1200), expected)


def test_a_worker_without_a_pair_of_a_step_keeps_step(tmp_path: Path, backbone: Path) -> None:
    """With one lane all pairs are the first worker's."""
    job = job_of(tmp_path, backbone, dropout=0.0, lanes=1)
    check(processes.run(2, gradients, job, [(0, 1000, True)]), one_big_batch(job))


def test_dropout_is_drawn_alike_when_vectors_are_made_and_when_gradients_are(tmp_path: Path, backbone: Path) -> None:
    """The gradient is that of one graph over all micro-batches, whose vectors were drawn once."""
    job = job_of(tmp_path, backbone, dropout=0.3)
    ((found, expected),) = processes.run(1, with_dropout, job)
    assert worst(found, expected) < TOLERANCE


def test_the_plan_knows_the_model_and_that_a_pair_is_two_texts(job: Job, backbone: Path) -> None:
    task = make(job.recipe.tasks["near"], str(backbone), 64)
    empty = Rehearsal(ModelSection(path=str(backbone)), backbone, [task], [[]], "fp32")
    model: Any = load.new(ModelSection(path=str(backbone)), task, [], 0)
    assert empty.size.parameters == sum(one.numel() for one in model.parameters())
    held = [empty.activations(lengths, recomputed=False) for lengths in ([20], [20, 20], [40])]
    # Attention costs the square of a text's length, and neither text sees the other.
    assert held[0] < held[1] < held[2] < 3 * held[0]


def check(ranks: list[list[tuple[Split, float, Gradients]]], expected: tuple[float, Gradients]) -> None:
    for each in zip(*ranks, strict=True):
        split, _, found = each[0]
        assert worst(found, expected[1]) < TOLERANCE, split
        assert sum(loss for _, loss, _ in each) == pytest.approx(expected[0], rel=1e-5), split


def gradients(job: Job, splits: list[Split]) -> list[tuple[Split, float, Gradients]]:
    """This rank's part of the loss, and the gradients, of the first step by every split."""
    found = []
    for zero, micro_tokens, packed in splits:
        train = job.recipe.train.model_copy(update={"micro_tokens": micro_tokens})
        changed = replace(job, zero=zero, recipe=job.recipe.model_copy(update={"train": train}))
        worker = Worker(changed, packed)
        assert worker.layout.packed == packed
        micro, answers = worker.lay_out(STEP)
        assert answers == (24,)
        loss = worker.gradients(STEP, micro, answers)
        found.append(((zero, micro_tokens, packed), loss, {n: g.double().clone() for n, g in held(worker.engine)}))
        end(worker)
    return found


def with_dropout(job: Job) -> tuple[Gradients, Gradients]:
    both = []
    for one_graph in (False, True):
        train = job.recipe.train.model_copy(update={"micro_tokens": 120})
        worker = Worker(replace(job, recipe=job.recipe.model_copy(update={"train": train})))
        micro, answers = worker.lay_out(STEP)
        assert len(micro) > 2
        if one_graph:
            _seed(job.recipe.seed, STEP.number, 0)
            groups = [group for m in micro for group in m.groups]
            vectors = torch.cat([worker.engine(**group.inputs).logits for group in groups])
            labels = torch.cat([group.targets[0] for group in groups])
            order = (2 * labels[:, 0] + labels[:, 1]).argsort()
            pairs, task = vectors[order].view(24, 2, -1), worker.tasks[0]
            assert isinstance(task, Embedding)
            worker.engine.backward(task.compare(pairs, labels[order][::2, 2:]).mean(), last=True)
        else:
            worker.gradients(STEP, micro, answers)
        both.append({name: gradient.double().clone() for name, gradient in held(worker.engine)})
        end(worker)
    return both[0], both[1]


def one_big_batch(job: Job) -> tuple[float, Gradients]:
    """Plain PyTorch in fp64: one text at a time, the mean over all pairs of the batch."""
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = BertModel.from_pretrained(job.recipe.model.path, add_pooling_layer=False, **still).double()
    with Reader(Corpus.open(job.corpora["near"]), "train", job.recipe.seed) as reader:
        samples = reader.step(STEP.epoch, STEP.start, STEP.stop)

    def vector(ids: NDArray[np.int32]) -> torch.Tensor:
        mean = model(input_ids=torch.tensor(ids)[None].long()).last_hidden_state[0].mean(dim=0)
        return mean / mean.norm()

    queries = [vector(s.input_ids[: s.label[0]]) for s in samples]
    documents = [vector(s.input_ids[s.label[0] :]) for s in samples]
    losses = []
    for i, one in enumerate(samples):
        others = [j for j, two in enumerate(samples) if j == i or (one.label[1:] != two.label[1:]).all()]
        scores = torch.stack([queries[i] @ documents[j] for j in others]) / 0.2
        losses.append(scores.logsumexp(0) - queries[i] @ documents[i] / 0.2)
    assert any(len({s.label[k] for s in samples}) < len(samples) for k in (1, 2))
    loss = torch.stack(losses).mean()
    loss.backward()
    return loss.item(), {name: parameter.grad for name, parameter in model.named_parameters()}
