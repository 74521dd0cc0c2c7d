"""An adversary moves each sample by itself: gradients are those of one sample at a time, whatever the split."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import processes
import pytest
import torch
from test_gradient import ALL, STEP, Gradients, Split, big_vocabulary, gradients, with_train, worst

from gb_ray.corpus.corpus import Corpus
from gb_ray.corpus.reading.reader import Reader
from gb_ray.model import load
from gb_ray.recipe import Recipe, parse
from gb_ray.section import UserError
from gb_ray.tasks.task import make
from gb_ray.train.job import Job
from gb_ray.train.section import AdversarySection

sys.path.append(str(Path(__file__).parent.parent / "corpus"))

from synthetic import make_corpus

FGM = AdversarySection(method="fgm", radius=0.5)
PGD = AdversarySection(method="pgd", radius=0.5, steps=3)
TOLERANCE = 1e-4
"""Of gradients in fp32 against those in fp64. Moves are made of gradients too, and as far from exact."""


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, backbone: Path) -> Job:
    """Tags of texts of 3 to 30 tokens, without dropout."""
    folder = tmp_path_factory.mktemp("adversary")
    make_corpus(folder / "corpus", {"train": [(1.0, 60)]}, lanes=6, shard_rows=4, tokens=(3, 30), label="tokens")
    recipe = Recipe.model_validate(
        {
            "name": "adversary",
            "corpus": {"sources": [{"uri": "none.jsonl"}], "lanes": 6},
            "tasks": {"tag": {"type": "token-classification"}},
            "model": {"path": str(big_vocabulary(backbone, folder / "model")), "max_tokens": 64, "dropout": 0.0},
            "train": {"batch": 24, "precision": "fp32"},
        }
    )
    return Job(recipe, {"tag": folder / "corpus"}, folder, "k" * 64, time.time(), False, 0, {"tasks": {"tag": {}}}, {})


@pytest.mark.parametrize(
    ("section", "workers", "splits"),
    [
        (FGM, 2, [(0, 4, False)]),
        (PGD, 2, [(2, 1, True)]),
        pytest.param(FGM, 3, ALL, marks=pytest.mark.chaos),
        pytest.param(PGD, 1, ALL, marks=pytest.mark.chaos),
        pytest.param(PGD, 3, ALL, marks=pytest.mark.chaos),
    ],
    ids=["fgm", "pgd", "fgm by every split", "pgd by every split of one", "pgd by every split of three"],
)
def test_gradients_are_those_of_one_sample_at_a_time(
    job: Job, section: AdversarySection, workers: int, splits: list[Split]
) -> None:
    expected, without = one_by_one(job, section), one_by_one(job, None)
    assert worst(without, expected) > 0.1
    for split, found in processes.run(workers, gradients, with_train(job, adversary=section), splits, timeout=250)[0]:
        assert worst(found, expected) < TOLERANCE, split


@pytest.mark.chaos
def test_it_moves_embeddings_that_are_frozen_too(job: Job) -> None:
    recipe = job.recipe.model_copy(update={"model": job.recipe.model.model_copy(update={"freeze_embeddings": True})})
    expected = one_by_one(job, PGD)
    against = with_train(replace(job, recipe=recipe), adversary=PGD, recompute=True)
    ((_, found),) = processes.run(1, gradients, against, [(0, 2, True)])[0]
    assert 0 < len(found) < len(expected)
    assert worst(found, {name: expected[name] for name in found}) < TOLERANCE


def test_steps_that_fgm_does_not_take_are_refused(content: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"train\.adversary: fgm takes one step"):
        parse(content, ["train.adversary={method: fgm, steps: 3}"], "r.yaml")


def test_what_a_model_says_of_its_recipe_is_a_recipe(content: dict[str, Any]) -> None:
    for section in ("{method: fgm}", "{method: pgd}", "{method: pgd, steps: 2}"):
        found = parse(content, [f"train.adversary={section}"], "r.yaml")
        assert parse(found.model_dump(mode="json"), [], "r.yaml") == found


def one_by_one(job: Job, section: AdversarySection | None) -> Gradients:
    """Plain PyTorch in fp64: the loss of each sample, and with a section also that at its moved embeddings."""
    recipe, corpus = job.recipe, Corpus.open(job.corpora["tag"])
    task = make(recipe.tasks["tag"], recipe.model.path, recipe.model.max_tokens)
    model: Any = load.new(recipe.model, task, corpus.manifest.labels, recipe.seed).double().train()
    with Reader(corpus, "train", recipe.seed) as reader:
        samples = reader.step(STEP.epoch, STEP.start, STEP.stop)
    answers = sum(task.supervised(sample.label) for sample in samples)
    for sample in samples:
        ids, label = torch.tensor(sample.input_ids)[None].long(), torch.tensor(sample.label).long()

        def loss(by: torch.Tensor | float, ids: torch.Tensor = ids, label: torch.Tensor = label) -> torch.Tensor:
            logits = model(inputs_embeds=model.get_input_embeddings()(ids) + by).logits[0]
            return torch.nn.functional.cross_entropy(logits, label, ignore_index=-100, reduction="sum")

        (loss(0.0) / answers).backward()
        if section:
            (loss(moved(loss, (*ids.shape, 32), section)) / answers).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def moved(loss: Any, shape: tuple[int, ...], section: AdversarySection) -> torch.Tensor:
    by = torch.zeros(shape, dtype=torch.float64)
    length = section.radius if section.method == "fgm" else 2.5 * section.radius / section.gradients
    for _ in range(section.gradients):
        by.requires_grad_()
        (slope,) = torch.autograd.grad(loss(by), by)
        by = by.detach() + length * slope / slope.norm()
        by = by * min(1.0, section.radius / float(by.norm()))
    return by
