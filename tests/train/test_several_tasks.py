"""Several tasks in one run: gradients are those of one process, whichever worker has which task's samples."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import processes
import pytest
import torch
from engines import end, held
from test_gradient import TOLERANCE, big_vocabulary, worst

from gb_ray.corpus.corpus import Corpus
from gb_ray.corpus.reading.reader import Reader
from gb_ray.model import load, package, several
from gb_ray.model.predictor import Predictor
from gb_ray.model.section import AdapterSection
from gb_ray.recipe import Recipe
from gb_ray.tasks.task import make
from gb_ray.train import loop
from gb_ray.train.batch import Layout
from gb_ray.train.evaluate import groups, score
from gb_ray.train.job import Job
from gb_ray.train.schedule import Step
from gb_ray.train.section import EarlyStopSection
from gb_ray.train.worker import Worker

sys.path.append(str(Path(__file__).parent.parent / "corpus"))

from synthetic import make_corpus

KINDS = {"tags": "tokens", "topics": "class", "numbers": "values"}
LANES = {"tags": 6, "topics": 4, "numbers": 1}
"""With one lane all samples are the first worker's: the others never see that task."""
WEIGHTS = [1.0, 0.5, 2.0]
STEPS = [Step(number, 0, 16 * number, 16 * number + 16) for number in range(3)]
LEARNT = [0.3, -0.4, 0.1]
STATE = {"mean": [0.5, 0.4], "sd": [0.3, 0.2]}
Gradients = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, backbone: Path) -> Job:
    """Tags, topics and two numbers of short texts; the model has no dropout."""
    folder = tmp_path_factory.mktemp("several")
    for seed, (task, label) in enumerate(KINDS.items()):
        layout = {"lanes": LANES[task], "shard_rows": 8, "tokens": (3, 30), "seed": seed, "label": label}
        splits = {"train": [(1.0, 40 - 10 * seed)], "validation": [(1.0, 9)], "test": [(1.0, 5)]}
        make_corpus(folder / task, splits, **layout)
    recipe = Recipe.model_validate(
        {
            "name": "several",
            "corpus": {"sources": [{"uri": f"{task}.jsonl", "task": task} for task in KINDS]},
            "tasks": {
                "tags": {"type": "token-classification"},
                "topics": {"type": "sequence-classification", "weight": 0.5},
                "numbers": {"type": "regression", "targets": ["load", "price"], "weight": 2.0},
            },
            "model": {"path": str(big_vocabulary(backbone, folder / "model")), "max_tokens": 64, "dropout": 0.0},
            "train": {"batch": 16, "epochs": 1, "lr": 3e-3, "micro_tokens": 100, "precision": "fp32"},
        }
    )
    labels = {task: Corpus.open(folder / task).manifest.labels for task in KINDS}
    tasks = {
        name: {"type": section.type, "labels": labels[name], "section": section.model_dump(mode="json")}
        for name, section in recipe.tasks.items()
    }
    manifest = {"name": "several", "tasks": tasks, "max_tokens": 64}
    folders: dict[str, Path | str] = {task: folder / task for task in KINDS}
    (folder / "run.json").write_text(json.dumps({"key": "k" * 64, "name": "several", "status": "running"}))
    return Job(recipe, folders, folder, "k" * 64, time.time(), False, 0, manifest, {"numbers": STATE})


@pytest.fixture(scope="module")
def expected(job: Job) -> list[tuple[Gradients, list[float]]]:
    return [apart(job, step) for step in STEPS]


@pytest.mark.parametrize(
    ("zero", "packed"), [(0, True), (2, False), (3, True), pytest.param(3, False, marks=pytest.mark.chaos)]
)
def test_a_task_that_a_worker_never_sees_is_learnt_as_by_one_process(
    job: Job, expected: list[tuple[Gradients, list[float]]], zero: int, packed: bool
) -> None:
    shares = processes.run(2, gradients, replace(job, zero=zero), packed)
    assert all(answers[1][2] == 0 < answers[0][2] for answers in zip(*(mine for _, mine in shares), strict=True))
    for found, (wanted, _) in zip(shares[0][0], expected, strict=True):
        assert worst(found, wanted) < TOLERANCE


@pytest.mark.chaos
def test_one_process_with_all_samples_has_the_same_gradients(
    job: Job, expected: list[tuple[Gradients, list[float]]]
) -> None:
    for found, (wanted, _) in zip(processes.run(1, gradients, job, False)[0][0], expected, strict=True):
        assert worst(found, wanted) < TOLERANCE


def test_a_balance_that_is_learnt_has_the_gradients_of_the_paper(
    job: Job, expected: list[tuple[Gradients, list[float]]]
) -> None:
    """Of each s: weight * (1 / 2 - exp(-s) * mean); all else is that of the tasks apart, each times exp(-s)."""
    found = processes.run(2, gradients, changed(job, balance="uncertainty"), True, LEARNT)[0][0]
    for one, (_, means) in zip(found, expected, strict=True):
        s = torch.tensor(LEARNT, dtype=torch.float64)
        wanted = torch.tensor(WEIGHTS) * (0.5 - torch.exp(-s) * torch.tensor(means))
        torch.testing.assert_close(one["log_variances"], wanted, rtol=1e-5, atol=1e-6)
    factors = [weight * float(torch.exp(-torch.tensor(s))) for weight, s in zip(WEIGHTS, LEARNT, strict=True)]
    for number, one in enumerate(found):
        wanted, _ = apart(job, STEPS[number], factors)
        assert worst({name: one[name] for name in one if name != "log_variances"}, wanted) < TOLERANCE


@pytest.mark.parametrize("zero", [pytest.param(2, marks=pytest.mark.chaos), 3])
def test_a_run_exports_one_backbone_that_opens_by_itself_and_a_head_a_task(job: Job, zero: int, tmp_path: Path) -> None:
    from transformers import AutoModel

    (tmp_path / "run.json").write_text((job.run / "run.json").read_text())
    processes.run(2, loop.train, replace(changed(job, balance="uncertainty", epochs=4), run=tmp_path, zero=zero))
    model = tmp_path / "model"
    manifest = package.verify(model)
    assert list(manifest["tasks"]) == list(KINDS)
    losses = [json.loads(line)["metrics"]["loss"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    quarter = len(losses) // 4
    assert sum(losses[-quarter:]) < sum(losses[:quarter])
    opened, found = AutoModel.from_pretrained(model, output_loading_info=True)
    assert type(opened).__name__ == "BertModel"
    assert not found["missing_keys"]
    assert {name.split(".")[1] for name in found["unexpected_keys"]} == set(KINDS)
    answer = (predictor := Predictor(model)).predict(predictor.encode(["wind and flood"]))[0]
    assert {task: set(one) for task, one in answer.items()} == {
        "tags": {"entities"},
        "topics": {"label", "probabilities"},
        "numbers": {"values"},
    }


@pytest.mark.parametrize("zero", [0, pytest.param(3, marks=pytest.mark.chaos)])
def test_tasks_that_share_an_adapter_are_exported_with_it_merged(job: Job, zero: int, tmp_path: Path) -> None:
    from transformers import AutoModel

    (tmp_path / "run.json").write_text((job.run / "run.json").read_text())
    section = job.recipe.model.model_copy(update={"adapter": AdapterSection(targets=["query"])})
    adapted = replace(job, recipe=job.recipe.model_copy(update={"model": section}), run=tmp_path, zero=zero)
    processes.run(2, loop.train, adapted)
    before = AutoModel.from_pretrained(job.recipe.model.path).state_dict()
    after = AutoModel.from_pretrained(tmp_path / "model").state_dict()
    moved = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert {name for name in moved if not name.startswith("pooler.")} == {
        f"encoder.layer.{number}.attention.self.query.weight" for number in range(2)
    }
    Predictor(tmp_path / "model")  # its heads are there


@pytest.mark.parametrize("zero", [pytest.param(0, marks=pytest.mark.chaos), 3])
def test_the_metric_of_one_of_several_tasks_ends_the_run(job: Job, zero: int, tmp_path: Path) -> None:
    """Of `numbers` one worker has all samples: under ZeRO 3 the other makes as many passes of none."""
    (tmp_path / "run.json").write_text((job.run / "run.json").read_text())
    early = EarlyStopSection(metric="topics.loss", patience=2, every=2)
    changed_job = replace(changed(job, early_stop=early, epochs=2), run=tmp_path, zero=zero)
    processes.run(2, loop.train, changed_job)
    result = json.loads((tmp_path / "result.json").read_text())
    entries = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    measured = {one["step"] + 1: one["metrics"] for one in entries if "early_stop_topics.loss" in one["metrics"]}
    assert all("early_stop_tags.entity_f1" in one and "early_stop_numbers.loss" in one for one in measured.values())
    assert result["best_step"] == min(measured, key=lambda steps: measured[steps]["early_stop_topics.loss"])
    assert max(measured) == result["steps"] == min(result["best_step"] + 4, 12)
    task = make(job.recipe.tasks["topics"], job.recipe.model.path, 64)
    model = several.exported(tmp_path / "model", "topics", task)
    laid, corpus = Layout.of(model, (task,)), Corpus.open(job.corpora["topics"])
    with Reader(corpus, "validation", 0) as reader:
        scored = score(model, laid, groups(laid, list(reader.once())))[0]
    found = task.metrics([one[1] for one in scored], [one[2] for one in scored], corpus.manifest.labels)
    assert found["loss"] == pytest.approx(result["best_value"], abs=1e-5)


def changed(job: Job, **train_keys: object) -> Job:
    train = job.recipe.train.model_copy(update=train_keys)
    return replace(job, recipe=job.recipe.model_copy(update={"train": train}))


def gradients(job: Job, packed: bool, learnt: list[float] | None = None) -> tuple[list[Gradients], list[Any]]:
    """The gradients of each of STEPS, and this worker's answers in them."""
    worker = Worker(job, packed)
    module: Any = worker.engine.module
    if learnt:
        module.log_variances.data.copy_(torch.tensor(learnt))
    found, mine = [], []
    for step in STEPS:
        micro, answers = worker.lay_out(step)
        worker.gradients(step, micro, answers)
        found.append({name: gradient.double().clone() for name, gradient in held(worker.engine)})
        mine.append(worker.layout.answers(worker.reader.step(step.epoch, step.start, step.stop)))
        worker.engine.step(0.0)  # at a rate of 0 the weights stay
    end(worker)
    return found, mine


def apart(job: Job, step: Step, factors: list[float] = WEIGHTS) -> tuple[Gradients, list[float]]:
    """Plain PyTorch in fp64, one sample at a time and each task with a whole model of its own.

    A backbone that is shared has the sum of the gradients of the models' backbones. Also each task's mean loss.
    """
    recipe = job.recipe
    corpora = [Corpus.open(folder) for folder in job.corpora.values()]
    with Reader(corpora, "train", recipe.seed) as reader:
        samples = reader.step(step.epoch, step.start, step.stop)
    found: Gradients = {}
    means = []
    for number, (name, section) in enumerate(recipe.tasks.items()):
        task = make(section, recipe.model.path, 64, state=job.states.get(name))
        model: Any = load.new(recipe.model, task, corpora[number].manifest.labels, recipe.seed).double().train()
        losses, answers = [], 0
        for sample in (sample for sample in samples if sample.task == number):
            logits = model(input_ids=torch.tensor(sample.input_ids)[None].long()).logits[0]
            losses.append(loss_of(name, logits, torch.tensor(sample.label)))
            answers += task.supervised(sample.label)
        mean = torch.stack(losses).sum() / answers
        means.append(float(mean.detach()))
        (factors[number] * mean).backward()
        for own, parameter in model.named_parameters():
            shared = f"backbone.{own.removeprefix('bert.')}"
            place = shared if own.startswith("bert.") else f"heads.{number}.{own}"
            if parameter.grad is not None:
                found[place] = found.get(place, 0) + parameter.grad
    return found, means


def loss_of(name: str, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Of one sample, summed over its answers."""
    if name == "numbers":
        wanted = (label.double() - torch.tensor(STATE["mean"])) / torch.tensor(STATE["sd"])
        return ((logits - wanted) ** 2).mean()
    if name == "tags":
        return torch.nn.functional.cross_entropy(logits, label.long(), ignore_index=-100, reduction="sum")
    return torch.nn.functional.cross_entropy(logits[None], label.long()[None])
