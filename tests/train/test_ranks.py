"""AdaLoRA gives up ranks until its budget is met, the same on any number of workers, and pulls the rest apart."""

from __future__ import annotations

from pathlib import Path

import processes
import pytest
import torch
from small_job import small_job
from test_adapter_run import job_of

from gb_ray.section import UserError
from gb_ray.train.job import Job
from gb_ray.train.loop import train
from gb_ray.train.ranks import Ranks
from gb_ray.train.worker import Worker

STEPS = 40


def made(seed: int = 0, matrices: int = 3) -> dict[str, torch.nn.Parameter]:
    """Adapters of rank 6, beside maps from 10 to 8."""
    draw = torch.Generator().manual_seed(seed)
    shapes = {"lora_A": (6, 10), "lora_E": (6, 1), "lora_B": (8, 6)}
    return {
        f"{number}.{name}.default": torch.nn.Parameter(torch.randn(*shape, generator=draw))
        for number in range(matrices)
        for name, shape in shapes.items()
    }


def left(trained: dict[str, torch.nn.Parameter]) -> list[int]:
    return [int((one != 0).sum()) for name, one in trained.items() if "lora_E" in name]


def test_the_budget_falls_in_the_middle_of_the_run_and_is_met_for_the_rest_of_it() -> None:
    trained = made()
    ranks, counts = Ranks(trained, 4, STEPS), []
    draw = torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        for one in trained.values():
            one.grad = torch.randn(one.shape, generator=draw)
            one.data -= 0.01 * one.grad
        ranks.prune()
        counts.append(sum(left(trained)))
        assert counts[-1] == ranks.budget
    assert counts == sorted(counts, reverse=True)
    assert counts[: STEPS // 10] == [18] * (STEPS // 10)
    assert counts[-12:] == [12] * 12
    assert len(set(counts)) > 3


def test_what_the_loss_does_not_feel_is_given_up_first() -> None:
    trained = made(matrices=2)
    ranks = Ranks(trained, 3, STEPS)
    for _ in range(STEPS):
        for name, one in trained.items():
            felt = 1.0 if name.startswith("0") else 1e-3
            one.grad = felt * torch.randn_like(one)
        ranks.prune()
    assert left(trained) == [6, 0]


def test_the_pull_is_the_gradient_of_what_is_not_orthogonal() -> None:
    trained = made(matrices=1)
    ranks = Ranks(trained, 4, STEPS)
    matrices = [one for name, one in trained.items() if "lora_E" not in name]
    gradients = [torch.zeros_like(one) for one in trained.values()]
    ranks.pull(zip(trained.values(), gradients, strict=True), scale=2.0)
    found = dict(zip(trained, gradients, strict=True))
    assert not found["0.lora_E.default"].any()
    for one, gradient in zip(matrices, [found["0.lora_A.default"], found["0.lora_B.default"]], strict=True):
        assert gradient.abs().max() > 0

        def apart(moved: torch.Tensor) -> torch.Tensor:
            square = moved @ moved.T if len(moved) == 6 else moved.T @ moved
            return 0.5 * torch.linalg.matrix_norm(square - torch.eye(6)) / 2

        step = 1e-3 * gradient / gradient.norm()
        fell = float((apart(one.data + step) - apart(one.data - step)) / 2)
        assert fell * 2 == pytest.approx(float((gradient * step).sum()), rel=1e-2)


def look(job: Job) -> dict[str, torch.Tensor]:
    """The adapter's numbers after a run."""
    found: dict[str, torch.Tensor] = {}

    def keep(worker: Worker, step: int) -> None:
        if step == worker.total:
            found.update(worker.engine.snapshot(job.run)["state/whole.pt"]["weights"] if worker.rank == 0 else {})

    train(job, keep)
    return {name: one.detach().clone() for name, one in found.items()}


def test_a_run_ends_within_the_budget_and_workers_give_up_the_same_ranks(tmp_path: Path, backbone: Path) -> None:
    ends = []
    for workers in (1, 2):
        adapter = {"adapter": {"type": "adalora", "rank": 2}, "dropout": 0.0}
        job = job_of(tmp_path / str(workers), backbone, adapter, zero=0, epochs=4, precision="fp32")
        ends.append(processes.run(workers, look, job)[0])
    numbers = [{name: one for name, one in end.items() if "lora_E" in name} for end in ends]
    begun = sum(len(one) for one in numbers[0].values())
    assert sum(int((one != 0).sum()) for one in numbers[0].values()) == begun * 2 // 3
    for name, one in numbers[0].items():
        assert torch.equal(one != 0, numbers[1][name] != 0), name
        assert torch.allclose(one, numbers[1][name], atol=1e-4), name


def test_it_is_refused_where_ranks_cannot_be_taken(tmp_path: Path, backbone: Path) -> None:
    with pytest.raises((UserError, ValueError), match=r"adalora needs train\.zero 0"):
        job_of(tmp_path, backbone, {"adapter": {"type": "adalora"}}, zero=2)
    assert small_job(tmp_path, backbone, zero=2)
