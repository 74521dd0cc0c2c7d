"""Runs that train a part of a model: what is frozen stays to the last bit, and a resumed run ends with the same."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import processes
import pytest
import torch
from safetensors.torch import load_file
from small_job import small_job

from gb_ray.model import load, package
from gb_ray.section import UserError
from gb_ray.tasks.task import make
from gb_ray.train.job import Job
from gb_ray.train.loop import train

MODEL = "AutoModelForSequenceClassification"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("adapter")


def job_of(place: Path, backbone: Path, model: dict[str, Any], **settings: Any) -> Job:
    job = small_job(place, backbone, samples=24, **settings)
    recipe = job.recipe.model_dump() | {"model": job.recipe.model.model_dump() | model}
    found = type(job.recipe).model_validate(recipe)
    manifest = job.manifest | {"recipe": found.model_dump(mode="json")}
    return replace(job, recipe=found, manifest=manifest)


def trained(jobs: list[Job]) -> None:
    for job in jobs:
        train(job)


def weights(job: Job) -> dict[str, torch.Tensor]:
    return load_file(job.run / "model" / "model.safetensors")


@pytest.mark.parametrize(
    "choice",
    [
        {"adapter": {}},
        pytest.param({"adapter": {"type": "dora"}}, marks=pytest.mark.chaos),
        pytest.param({"trained": 1}, marks=pytest.mark.chaos),
    ],
)
def test_at_every_stage_the_frozen_part_stays_and_the_rest_ends_alike(
    place: Path, backbone: Path, choice: dict[str, Any]
) -> None:
    jobs = [job_of(place, backbone, choice | {"dropout": 0.0}, zero=zero, epochs=1) for zero in (0, 2, 3)]
    processes.run(2, trained, jobs)
    base, found = load_file(place / "model" / "model.safetensors"), [weights(job) for job in jobs]
    for name, tensor in base.items():
        if "pooler" in name:
            continue
        unmoved = torch.equal(found[0][f"bert.{name}"], tensor)
        in_last, matrix = "layer.1" in name, tensor.ndim == 2 and "embeddings" not in name
        assert unmoved == (not in_last if "trained" in choice else not matrix), name
    for other in found[1:]:
        assert other.keys() == found[0].keys()
        assert all(torch.allclose(tensor, found[0][name], atol=1e-4) for name, tensor in other.items())


@pytest.mark.parametrize(
    ("kind", "zero"), [("adalora", 0), *(pytest.param("lora", z, marks=pytest.mark.chaos) for z in (0, 2))]
)
def test_a_resumed_run_ends_with_the_same_bytes(place: Path, backbone: Path, kind: str, zero: int) -> None:
    model = {"adapter": {"type": kind, "rank": 2, "dropout": 0.1}}
    job = job_of(place, backbone, model, zero=zero, checkpoint={"every": 4, "keep": 9})
    processes.run(2, trained, [job])
    digest = package.read(job.run / "model")["weights_sha256"]
    shutil.rmtree(job.run / "model")
    first, *later = sorted((job.run / "checkpoints").iterdir())
    for path in later:
        shutil.rmtree(path)
    assert first.name.endswith("4")
    processes.run(2, trained, [job])
    assert package.read(job.run / "model")["weights_sha256"] == digest


def test_an_adapter_alone_is_small_and_answers_on_its_base_only(place: Path, backbone: Path) -> None:
    one, other = (
        job_of(place, backbone, {"adapter": {"export": export}}, zero=0, epochs=1) for export in ("merged", "adapter")
    )
    processes.run(1, trained, [one, other])
    package.verify(other.run / "model")
    names = load_file(other.run / "model" / "adapter_model.safetensors").keys()
    assert "classifier.weight" in names and not any("base_layer" in name for name in names)
    ids = torch.arange(4, 24)[None]
    whole, alone = (load.exported(job.run / "model", MODEL)(ids).logits for job in (one, other))
    assert torch.allclose(whole, alone, atol=1e-5)

    manifest = json.loads((other.run / "model" / "gb_model.json").read_text())
    assert manifest["base"]["sha256"] == load.digest(place / "model")
    manifest["base"]["sha256"] = "0" * 64
    (other.run / "model" / "gb_model.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"an adapter of other weights than .*put the base of that digest there"):
        load.exported(other.run / "model", MODEL)
    with pytest.raises(UserError, match=r"an adapter, not a backbone"):
        load.backbone(one.recipe.model.model_copy(update={"path": str(other.run / "model")}))


def test_beside_a_base_in_four_bits_it_learns_nearly_the_same(place: Path, backbone: Path) -> None:
    """Exported, it is merged into the base as it came."""
    pytest.importorskip("bitsandbytes")
    jobs = [job_of(place, backbone, {"adapter": {"base": base}, "dropout": 0.0}, zero=0) for base in ("full", "nf4")]
    processes.run(1, trained, jobs)
    base, (full, small) = load_file(place / "model" / "model.safetensors"), [weights(job) for job in jobs]
    assert full.keys() == small.keys()
    moved = [name for name in base if "pooler" not in name and not torch.equal(full[f"bert.{name}"], base[name])]
    assert moved
    for name in moved:
        one, other = full[f"bert.{name}"] - base[name], small[f"bert.{name}"] - base[name]
        assert 0 < (one - other).norm() < one.norm(), name


def test_a_prefix_ends_alike_at_every_stage_and_answers_on_its_base(place: Path, backbone: Path) -> None:
    model = {"adapter": {"type": "prefix", "tokens": 3, "export": "adapter"}, "dropout": 0.0}
    jobs = [job_of(place, backbone, model, zero=zero, epochs=1) for zero in (0, 3)]
    processes.run(2, trained, jobs)
    first, other = (load_file(job.run / "model" / "adapter_model.safetensors") for job in jobs)
    prefixes = [name for name in first if "prefix_" in name]
    assert prefixes and first.keys() == other.keys()
    assert all(torch.allclose(first[name], other[name], atol=1e-4) for name in first)

    task = make(jobs[0].recipe.tasks["topic"], str(backbone), 64)
    begun = load.new(jobs[0].recipe.model, task, ["a", "b", "c"], jobs[0].recipe.seed)
    assert not any(torch.equal(first[name], begun.get_parameter(name)) for name in prefixes)
    ids = torch.arange(4, 24)[None]
    answers = [load.exported(job.run / "model", MODEL)(ids).logits for job in jobs]
    assert torch.allclose(*answers, atol=1e-3)
    package.verify(jobs[0].run / "model")
