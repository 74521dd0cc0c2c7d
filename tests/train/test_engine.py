"""Every stage of ZeRO is the same training, and its checkpoints are for any number of workers."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import engines
import processes
import pytest
import torch
import torch.distributed as dist
from engines import end
from safetensors.torch import load_file
from small_job import small_job

from gb_ray.corpus.corpus import Corpus
from gb_ray.model import load
from gb_ray.section import UserError
from gb_ray.tasks.task import make
from gb_ray.train.checkpoints.saver import Saver
from gb_ray.train.engine import Engine, start
from gb_ray.train.job import Job
from gb_ray.train.loop import train
from gb_ray.train.section import TrainSection
from gb_ray.train.sharded import _check
from gb_ray.train.worker import Worker

STAGES = [0, 1, 2, 3]
ON_HOST = ("cpu_offload", "offload_optimizer", "offload_param")
"""What DeepSpeed's optimizers know of offloading: of stages 1 and 2, and of stage 3."""
State = dict[str, tuple[torch.Tensor, ...]]
"""Of each trained parameter: fp32 weights, and AdamW's two moments."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engine")


def job_of(place: Path, backbone: Path, freeze: bool = False, **settings: Any) -> Job:
    job = small_job(place, backbone, samples=24, dropout=0.0, **{"epochs": 1, **settings})
    model = job.recipe.model.model_copy(update={"freeze_embeddings": freeze})
    return replace(job, recipe=job.recipe.model_copy(update={"model": model}))


def steps_of(worker: Worker, count: int) -> None:
    """Take this many steps, as the loop does."""
    for step in list(worker.steps())[:count]:
        micro, answers = worker.lay_out(step)
        worker.gradients(step, micro, answers)
        worker.engine.step(1.0)


def saved(jobs: list[Job]) -> list[State]:
    """Train each of the jobs for three steps and save it."""
    states = []
    for job in jobs:
        worker = Worker(job)
        steps_of(worker, 3)
        saver = Saver(job, worker.engine)
        saver.save(replace(worker.progress, steps=3), wait=True)
        saver.close()
        states.append(state_of(worker.engine))
        end(worker)
    return states


def loaded(jobs: list[Job]) -> list[State]:
    """What each of the jobs goes on from."""
    states = []
    for job in jobs:
        worker = Worker(job)
        assert worker.progress.steps == 3
        states.append(state_of(worker.engine))
        steps_of(worker, 0)
        end(worker)
    return states


def state_of(engine: Engine) -> State:
    whole, moments = dict(engine.weights(lambda name: torch.empty(0))), engines.moments(engine)
    return {name: tuple(part.detach().clone() for part in (whole[name], *moments[name])) for name in moments}


def test_a_checkpoint_of_two_workers_is_taken_up_by_any_number(place: Path, backbone: Path) -> None:
    """At every stage, with parameters that are not trained: weights and moments are equal to the last bit."""
    taken_up(place, backbone, [{"zero": zero} for zero in STAGES], [3])


@pytest.mark.chaos
def test_a_checkpoint_of_any_precision_and_optimizer_is_taken_up_too(place: Path, backbone: Path) -> None:
    taken_up(place, backbone, [{"zero": zero, "precision": "bf16"} for zero in STAGES], [3, 1, 2])
    taken_up(place, backbone, [{"zero": zero} for zero in STAGES], [1, 2])


def taken_up(place: Path, backbone: Path, settings: list[dict[str, Any]], worlds: list[int]) -> None:
    jobs = [job_of(place, backbone, freeze=True, **each) for each in settings]
    before = processes.run(2, saved, jobs)[0]
    for world in worlds:
        for job, expected, found in zip(jobs, before, processes.run(world, loaded, jobs)[0], strict=True):
            assert found.keys() == expected.keys() and "bert.embeddings.word_embeddings.weight" not in found
            for name, parts in expected.items():
                assert all(map(torch.equal, found[name], parts)), (job.zero, world, name)


def weights_before(job: Job) -> dict[str, torch.Tensor]:
    worker = Worker(job)
    found = {name: tensor.clone() for name, tensor in worker.engine.weights(worker._hollow().read)}
    partial = max(
        p.ds_tensor.numel() / p.ds_numel for p in worker.engine._engine.module.parameters() if p.ds_numel > 99
    )
    assert partial <= 1 / dist.get_world_size() + 0.05
    return found


def test_a_sharded_model_is_the_one_that_a_single_process_opens(place: Path, backbone: Path) -> None:
    """Its new head is drawn from the same seed. No worker keeps more than its part."""
    job = job_of(place, backbone, freeze=True, zero=3)
    found = processes.run(2, weights_before, job)[0]
    task = make(next(iter(job.recipe.tasks.values())), job.recipe.model.path, job.recipe.model.max_tokens)
    expected = load.new(job.recipe.model, task, Corpus.open(job.corpora["topic"]).manifest.labels, job.recipe.seed)
    assert found.keys() == expected.state_dict().keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.state_dict().items())


def ends_of(jobs: list[Job]) -> None:
    for job in jobs:
        train(job)


def exported(job: Job) -> dict[str, torch.Tensor]:
    return load_file(job.run / "model" / "model.safetensors")


def test_runs_end_alike_at_every_stage_and_with_state_elsewhere(place: Path, backbone: Path) -> None:
    offload = {"optimizer": "cpu"}
    settings: list[dict[str, Any]] = [
        *({"zero": zero} for zero in STAGES),
        {"zero": 1, "offload": offload},
        {"zero": 3, "offload": {**offload, "parameters": "cpu"}},
        {"zero": 3, "recompute": True},
    ]
    jobs = [job_of(place, backbone, **each) for each in settings]
    processes.run(2, ends_of, jobs)
    expected, *others = map(exported, jobs)
    for each, found in zip(settings[1:], others, strict=True):
        assert found.keys() == expected.keys()
        for name, tensor in expected.items():
            # A gradient near 0 makes AdamW step either way: what is compared is the step, 1e-3, not the weight.
            assert float((found[name] - tensor).abs().max()) < 2e-5, (each, name)


@pytest.mark.chaos
def test_runs_in_bf16_end_alike_at_every_stage(place: Path, backbone: Path) -> None:
    """As far as rounding lets them: the first steps are of the same size."""
    jobs = [job_of(place, backbone, zero=zero, precision="bf16") for zero in STAGES]
    processes.run(2, ends_of, jobs)
    start = load_file(Path(jobs[0].recipe.model.path) / "model.safetensors")
    expected, *others = map(exported, jobs)
    names = [name for name in expected if name.removeprefix("bert.") in start]
    way = sum(float((expected[n] - start[n.removeprefix("bert.")].bfloat16()).square().sum()) for n in names) ** 0.5
    for found in others:
        apart = sum(float((found[n] - expected[n]).square().sum()) for n in names) ** 0.5
        assert apart < 0.1 * way


def norms(jobs: list[Job]) -> list[tuple[list[float], float]]:
    """Of each job the norms of two steps' gradients, and that of the gradient which its first update was made of."""
    found = []
    for job in jobs:
        worker, of_job = Worker(job), []
        for _ in range(2):
            steps_of(worker, 1)
            of_job.append(worker.engine.grad_norm)
            if len(of_job) == 1:
                # AdamW's first moment begins as a tenth of it.
                parts = [10 * mean for mean, _ in engines.moments(worker.engine).values()]
                taken = float(torch.nn.utils.get_total_norm(parts))
        found.append((of_job, taken))
        end(worker)
    return found


def test_the_gradient_is_the_same_at_every_stage_and_is_clipped(place: Path, backbone: Path) -> None:
    jobs = [job_of(place, backbone, zero=zero, precision=p, clip=0.01) for p in ("fp32", "bf16") for zero in STAGES]
    found, taken = zip(*processes.run(2, norms, jobs)[0], strict=True)
    assert all(math.isfinite(norm) and norm > 0.01 for each in found for norm in each)
    assert all(each == pytest.approx(found[0], rel=1e-5) for each in found[1:4])
    assert all(each == pytest.approx(found[0], rel=0.05) for each in found[4:])
    assert taken == pytest.approx([0.01] * 8, rel=1e-3)


def seen(jobs: list[Job]) -> list[tuple[int, list[str]]]:
    """Of each job how often a layer computes in a step of one micro-batch, and what DeepSpeed has on the host."""
    found = []
    for job in jobs:
        worker, passes = Worker(job), list[int]()
        module: Any = worker.engine.module
        queries = module.bert.encoder.layer[0].attention.self.query
        queries.register_forward_pre_hook(lambda *args, passes=passes: passes.append(1))
        steps_of(worker, 1)
        wrapped = getattr(worker.engine, "_wrapped", None)
        found.append((len(passes), [name for name in ON_HOST if getattr(wrapped, name, False)]))
        end(worker)
    return found


def test_an_engine_recomputes_and_offloads_where_the_recipe_says_so(place: Path, backbone: Path) -> None:
    both = {"optimizer": "cpu", "parameters": "cpu"}
    settings: list[tuple[dict[str, Any], tuple[int, list[str]]]] = [
        ({"zero": 0}, (1, [])),
        ({"zero": 0, "recompute": True}, (2, [])),
        ({"zero": 1, "recompute": True, "offload": {"optimizer": "cpu"}}, (2, ["cpu_offload"])),
        ({"zero": 3, "offload": both}, (1, ["offload_optimizer", "offload_param"])),
    ]
    found = processes.run(1, seen, [job_of(place, backbone, **each) for each, _ in settings])[0]
    assert found == [expected for _, expected in settings]


def test_fp16_is_refused_without_gpus(place: Path, backbone: Path) -> None:
    job = job_of(place, backbone, zero=0, precision="fp16")
    task = make(next(iter(job.recipe.tasks.values())), job.recipe.model.path, job.recipe.model.max_tokens)
    hollow = load.hollow(job.recipe.model, task, Corpus.open(job.corpora["topic"]).manifest.labels, 0)
    with pytest.raises(UserError, match="fp16 needs GPUs"):
        start(hollow, job, "fp16", 1, False)


@pytest.mark.skipif(Path("/usr/include/libaio.h").exists(), reason="this machine has libaio")
def test_state_on_nvme_is_refused_without_libaio() -> None:
    with pytest.raises(UserError, match="libaio"):
        _check(TrainSection.model_validate({"zero": 3, "offload": {"parameters": "nvme", "folder": "/"}}))
