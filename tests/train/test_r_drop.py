"""R-Drop asks two draws of dropout for the same answer, whatever the split; and has dropout to draw."""

from __future__ import annotations

import sys
import time
from itertools import cycle
from pathlib import Path
from typing import Any

import processes
import pytest
import torch
from engines import end, held
from small_job import small_job
from test_gradient import ALL, STEP, Gradients, Split, big_vocabulary, gradients, worst
from torch.nn.functional import kl_div
from transformers import BertConfig, BertModel

from gb_ray.corpus.corpus import Corpus
from gb_ray.corpus.reading.reader import Reader
from gb_ray.model import load
from gb_ray.recipe import Recipe, parse
from gb_ray.section import UserError
from gb_ray.tasks.task import make
from gb_ray.train.job import Job
from gb_ray.train.r_drop import check, divergence
from gb_ray.train.worker import Worker

sys.path.append(str(Path(__file__).parent.parent / "corpus"))

from synthetic import make_corpus

ALPHA = 5.0
TOLERANCE = 1e-4
"""Of gradients in fp32 against those in fp64: the divergence is a difference of numbers that are almost equal."""
NEVER = 1e-9
"""A rate at which dropout draws no zero here: the draws that are compared are those of `masked`."""


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, backbone: Path) -> Job:
    """Tags of texts of 3 to 30 tokens."""
    folder = tmp_path_factory.mktemp("r-drop")
    make_corpus(folder / "corpus", {"train": [(1.0, 60)]}, lanes=6, shard_rows=4, tokens=(3, 30), label="tokens")
    recipe = Recipe.model_validate(
        {
            "name": "r-drop",
            "corpus": {"sources": [{"uri": "none.jsonl"}], "lanes": 6},
            "tasks": {"tag": {"type": "token-classification"}},
            "model": {"path": str(big_vocabulary(backbone, folder / "model")), "max_tokens": 64, "dropout": NEVER},
            "train": {"batch": 24, "precision": "fp32", "r_drop": ALPHA},
        }
    )
    return Job(recipe, {"tag": folder / "corpus"}, folder, "k" * 64, time.time(), False, 0, {"tasks": {"tag": {}}}, {})


@pytest.mark.parametrize(
    ("workers", "splits"),
    [
        (2, [(0, 2, True), (0, 4, False)]),
        pytest.param(1, ALL, marks=pytest.mark.chaos),
        pytest.param(3, ALL, marks=pytest.mark.chaos),
    ],
)
def test_gradients_are_those_of_one_sample_at_a_time(job: Job, workers: int, splits: list[Split]) -> None:
    expected, without = one_by_one(job, ALPHA), one_by_one(job, 0.0)
    assert worst(without, expected) > 0.1
    for split, found in processes.run(workers, gradients, job, splits, masked, timeout=250)[0]:
        assert worst(found, expected) < TOLERANCE, split


def test_what_it_draws_follows_from_the_step(tmp_path: Path, backbone: Path) -> None:
    found, again, other = processes.run(1, drawn, small_job(tmp_path, backbone, zero=0, r_drop=1.0))[0]
    assert all(torch.equal(found[name], again[name]) for name in found)
    assert worst(other, found) > 0.01


def test_divergence_is_the_mean_of_both_directions() -> None:
    one, other = torch.randn(2, 7, 4, dtype=torch.float64)
    targets = torch.tensor([0, -100, 2, 3, -100, 1, 0])
    p, q = one.log_softmax(-1), other.log_softmax(-1)
    both = kl_div(p, q, log_target=True, reduction="none") + kl_div(q, p, log_target=True, reduction="none")
    torch.testing.assert_close(divergence(one, other, targets).double(), both[targets != -100].sum() / 2)
    assert float(divergence(one, one, targets)) == 0


@pytest.mark.parametrize("rates", [(0.0, 0.1), (0.1, 0.0), (0.0, 0.0)])
def test_a_model_without_any_dropout_is_refused(rates: tuple[float, float]) -> None:
    size = {"vocab_size": 8, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    model = BertModel(BertConfig(**size, hidden_dropout_prob=rates[0], attention_probs_dropout_prob=rates[1]))
    if any(rates):
        check(model)
        return
    with pytest.raises(UserError, match=r"train\.r_drop: .* this model has none; set model\.dropout"):
        check(model)


@pytest.mark.parametrize(
    "task", ["{type: sequence-classification, multi_label: true}", "{type: regression, targets: [load]}"]
)
def test_a_task_without_one_right_label_is_refused(content: dict[str, Any], task: str) -> None:
    with pytest.raises(UserError, match=r"train\.r_drop: compares probabilities of which one label is right; tasks"):
        parse(content, ["train.r_drop=1", f"tasks.topic={task}"], "r.yaml")


def masked(worker: Worker) -> None:
    """Multiply the word embeddings of every first pass with one mask, of every second with the other."""
    masks = cycle(masks_of(torch.float32))
    worker.engine.module.get_input_embeddings().register_forward_hook(lambda _, __, output: output * next(masks))  # type: ignore[operator]


def masks_of(dtype: torch.dtype) -> list[torch.Tensor]:
    torch.manual_seed(1)
    return [(torch.rand(32) > 0.3).to(dtype) for _ in range(2)]


def drawn(job: Job) -> list[Gradients]:
    """The gradients of a step, of the same again, and of the same by another seed."""
    worker = Worker(job)
    micro, answers = worker.lay_out(next(worker.steps()))
    found = []
    for step in (STEP, STEP, STEP.__class__(1, 0, 0, 24)):
        worker.gradients(step, micro, answers)
        found.append({name: gradient.clone() for name, gradient in held(worker.engine)})
        worker.engine.step(0.0)
    end(worker)
    return found


def one_by_one(job: Job, alpha: float) -> Gradients:
    """Plain PyTorch in fp64: of each sample the mean loss under both masks, and the divergence of the answers."""
    recipe, corpus = job.recipe, Corpus.open(job.corpora["tag"])
    task = make(recipe.tasks["tag"], recipe.model.path, recipe.model.max_tokens)
    model: Any = load.new(recipe.model, task, corpus.manifest.labels, recipe.seed).double().eval()
    with Reader(corpus, "train", recipe.seed) as reader:
        samples = reader.step(STEP.epoch, STEP.start, STEP.stop)
    answers = sum(task.supervised(sample.label) for sample in samples)
    for sample in samples:
        ids, label = torch.tensor(sample.input_ids)[None].long(), torch.tensor(sample.label).long()
        embedded = [model.get_input_embeddings()(ids) * mask for mask in masks_of(torch.float64)]
        p, q = (model(inputs_embeds=one).logits[0][label != -100].log_softmax(-1) for one in embedded)
        right = label[label != -100][:, None]
        losses = -(p.gather(1, right) + q.gather(1, right)).sum() / 2
        apart = (p.exp() * (p - q) + q.exp() * (q - p)).sum() / 2
        ((losses + alpha * apart) / answers).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}
