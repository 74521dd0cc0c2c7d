"""The driver's side of training: starts the workers, watches them, and survives their losses."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

from gb_ray import machine
from gb_ray.corpus.corpus import Corpus
from gb_ray.model import load
from gb_ray.progress import Progress, Stage
from gb_ray.recipe import Recipe
from gb_ray.section import UserError
from gb_ray.tasks.task import make
from gb_ray.train.job import Job
from gb_ray.train.journal import goodput
from gb_ray.train.loop import FAILED, work
from gb_ray.train.plan import choose_zero
from gb_ray.train.run import Run, read_json
from gb_ray.train.schedule import steps_per_epoch

WATCH_EVERY_S = 0.5


class TrainingFailed(Exception):
    """The workers failed more often than `train.max_failures` allows, or in a way that will not pass."""


def fit(recipe: Recipe, corpus: Corpus, run: Run, manifest: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Train `recipe` on `corpus` in `run`, from its newest checkpoint on; Ray must be up.

    `manifest` is what the exported model will say of itself. Returns result.json, attempts, tokens_per_s, goodput.
    Raises TrainingFailed when the workers fail for good.
    """
    state = make(recipe.task[1], str(load.backbone(recipe.model)), recipe.model.max_tokens).prepare(corpus).state
    job = Job(
        recipe,
        corpus.folder,
        run.path,
        run.state["key"],
        time.time(),
        use_gpus(recipe),
        choose_zero(recipe),
        manifest,
        state,
    )
    total = steps_per_epoch(corpus.manifest.splits["train"].epoch, recipe.train.batch) * recipe.train.epochs
    if run.result is None:
        with progress.stage("train", unit="steps") as stage:
            _watch(_start(job), job.run, total, stage)
    result = run.result
    if result is None:
        raise TrainingFailed(f"{run.path}: the workers ended without a result")
    spent = goodput(run.path / "attempts")
    attempts = len(list((run.path / "attempts").glob("*.json")))
    rate = result["tokens_seen"] / max(1e-9, spent["data"] + spent["compute"])
    return {**result, "attempts": attempts, "tokens_per_s": round(rate, 1), "goodput": spent}


def require_workers(recipe: Recipe) -> None:
    """Raises UserError for a task that is not trained, or when this Ray has too few CPUs or GPUs for the workers."""
    name, section = recipe.task
    if section.type == "causal-lm":
        raise UserError(
            f"tasks.{name}: a causal-lm corpus can be built and inspected (gb corpus build, gb corpus show), "
            "but this version does not train on it"
        )
    workers = recipe.train.fewest
    gpus = workers if use_gpus(recipe) else 0
    machine.require(workers, gpus, f"train.workers={workers}", "set train.workers to what there is")


def use_gpus(recipe: Recipe) -> bool:
    """Whether this run's workers get a GPU each."""
    import ray

    if recipe.train.gpus == "auto":
        return bool(ray.cluster_resources().get("GPU", 0) >= recipe.train.fewest)
    return recipe.train.gpus


def _fit(job: Job) -> str | None:
    """Ray Train's blocking call: why it failed, or None.

    It runs as a task because it must not be interrupted by signals, nor speak to Ray after the driver left it: a
    thread that does ends the whole process.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    logging.getLogger("ray.train").setLevel(logging.ERROR)
    section = job.recipe.train
    # Small tensors (counts, seeds) are exchanged between CPUs even where gradients travel between GPUs.
    backend = "cpu:gloo,cuda:nccl" if job.gpus else "gloo"
    resources = {"CPU": 1.0, "GPU": 1.0} if job.gpus else {"CPU": 1.0}
    trainer = TorchTrainer(
        work,
        train_loop_config=job,
        torch_config=TorchConfig(backend=backend),
        scaling_config=ScalingConfig(num_workers=section.workers, use_gpu=job.gpus, resources_per_worker=resources),
        run_config=RunConfig(
            name="ray-train",
            storage_path=str(job.run.absolute()),
            failure_config=FailureConfig(max_failures=section.max_failures),
        ),
    )
    try:
        trainer.fit()
    except Exception as error:  # noqa: BLE001 - Ray Train's own errors do not survive being sent to another process
        return _reason(error)
    return None


def _start(job: Job) -> Any:
    """A reference to what `_fit` will return."""
    import ray

    (job.run / FAILED).unlink(missing_ok=True)
    return ray.remote(_fit).options(num_cpus=0, max_retries=0).remote(job)


def _watch(fit: Any, run: Path, total: int, stage: Stage) -> None:
    """Show the journal's newest line until training ends. Raises TrainingFailed."""
    import ray

    read, journal = 0, run / "metrics.jsonl"
    while not ray.wait([fit], timeout=WATCH_EVERY_S)[0]:
        machine.check_stop()
        if (run / FAILED).is_file():
            error = read_json(run / FAILED)["error"].strip().splitlines()[-1]
            raise TrainingFailed(f"{error}; the traceback is in {run / FAILED}")
        if not journal.is_file():
            continue
        with journal.open("rb") as file:
            file.seek(read)
            lines = file.read().split(b"\n")
        read += sum(len(line) + 1 for line in lines[:-1])
        if len(lines) > 1:
            entry = json.loads(lines[-2])
            metrics = entry["metrics"]
            speed = f"{metrics['tokens_per_s']:.0f} tokens/s, padding {metrics['padding']:.1%}"
            stage.to(entry["step"] + 1, f"loss {metrics['loss']:.3f}, {speed}", total=total)
    try:
        reason = ray.get(fit)
    except ray.exceptions.RayError as error:
        reason = _reason(error)
    if reason:
        raise TrainingFailed(reason)


def _reason(error: Exception) -> str:
    failures = getattr(error, "worker_failures", None)
    if failures:
        rank, first = next(iter(failures.items()))
        return f"worker {rank}: {str(first).strip().splitlines()[-1]}"
    return str(error).strip().splitlines()[-1]
