"""The driver's side of training: starts the workers, watches them, and survives their losses."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gb_ray import machine
from gb_ray.corpus.corpus import Corpus
from gb_ray.model import load
from gb_ray.progress import Progress, Stage
from gb_ray.recipe import Recipe
from gb_ray.section import UserError
from gb_ray.train import samples
from gb_ray.train.account.goodput import goodput
from gb_ray.train.account.hang import Watchman
from gb_ray.train.account.journal import newest
from gb_ray.train.account.notes import Notes
from gb_ray.train.account.record import STOPPED
from gb_ray.train.job import Job
from gb_ray.train.loop import FAILED, work
from gb_ray.train.planning.plan import choose_zero
from gb_ray.train.run import Run, read_json
from gb_ray.train.schedule import steps_per_epoch

WATCH_EVERY_S = 0.5


class TrainingFailed(Exception):
    """The workers failed more often than `train.max_failures` allows, or in a way that will not pass."""


class RunStopped(Exception):
    """The run ended where somebody asked it to: after `steps` steps, with a checkpoint."""

    def __init__(self, run: Path, steps: int):
        super().__init__(f"{run.name} stopped after step {steps}")
        self.run, self.steps = run, steps


def fit(
    recipe: Recipe,
    corpora: dict[str, Corpus],
    run: Run,
    manifest: dict[str, Any],
    states: dict[str, dict[str, Any]],
    progress: Progress,
    fitter: Any = None,
    old: Mapping[str, Corpus] | None = None,
) -> dict[str, Any]:
    """Train `recipe` on the corpora of its tasks in `run`, from its newest checkpoint on; Ray must be up.

    `manifest` is what the exported model will say of itself, `states` what its tasks learnt of the train splits, if
    they learn of them; `fitter` is what `standby` returned earlier, `old` the corpora that are replayed. Returns
    result.json, attempts, tokens_per_s, goodput. Raises TrainingFailed when the workers fail for good, UserError for
    what they cannot do, RunStopped when asked to.
    """
    backbone, gpus = load.backbone(recipe.model), use_gpus(recipe)
    if "zero" not in run.state:
        # Chosen once: a run that goes on elsewhere takes up a state that this stage has saved.
        run.update(zero=choose_zero(recipe, corpora, backbone, gpus))
    job = Job(
        recipe,
        {name: corpora[name].folder for name in recipe.tasks},
        run.path,
        run.state["key"],
        time.time(),
        gpus,
        run.state["zero"],
        manifest,
        states,
        {name: corpus.folder for name, corpus in (old or {}).items()},
    )
    new = sum(corpus.manifest.splits["train"].epoch for corpus in corpora.values())
    epoch = samples.per_epoch(new, recipe.train.replay if old else 0.0)
    total = steps_per_epoch(epoch, recipe.train.batch) * recipe.train.epochs
    run.update(total=total)
    if run.result is None:
        with progress.stage("train", unit="steps") as stage:
            _watch(_start(job, fitter or standby()), job, total, stage, progress)
        if (run.path / STOPPED).is_file():
            raise RunStopped(run.path, read_json(run.path / STOPPED)["steps"])
    result = run.result
    if result is None:
        raise TrainingFailed(f"{run.path}: the workers ended without a result")
    spent = goodput(run.path)
    attempts = len(list((run.path / "attempts").glob("*.json")))
    rate = result["tokens_seen"] / max(1e-9, spent["data"] + spent["compute"])
    return {**result, "attempts": attempts, "tokens_per_s": round(rate, 1), "goodput": spent}


def require_workers(recipe: Recipe) -> None:
    """Raises UserError when this Ray has too few CPUs or GPUs for the workers."""
    workers = recipe.train.fewest
    gpus = workers if use_gpus(recipe) else 0
    machine.require(workers, gpus, f"train.workers={workers}", "set train.workers to what there is")


def use_gpus(recipe: Recipe) -> bool:
    """Whether this run's workers get a GPU each."""
    import ray

    if recipe.train.gpus == "auto":
        return bool(ray.cluster_resources().get("GPU", 0) >= recipe.train.fewest)
    return recipe.train.gpus


def standby() -> Any:
    """A process for `fit`, which imports what it needs while the driver does other things; it ends with its handle.

    It is on the driver's node: one on another would end the run when that node is lost.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(_Fitter).options(num_cpus=0, scheduling_strategy=here).remote()


class _Fitter:
    """Ray Train's blocking call.

    It has a process of its own because it must not be interrupted by signals, nor speak to Ray after the driver left
    it: a thread that does ends the whole process.
    """

    def __init__(self) -> None:
        import ray.train.torch  # noqa: F401

    def fit(self, job: Job) -> str | None:
        """Why it failed, or None."""
        return _fit(job)


def _fit(job: Job) -> str | None:
    from ray.train.torch import TorchConfig, TorchTrainer

    from gb_ray.train import elastic

    elastic.prepare()
    logging.getLogger("ray.train").setLevel(logging.ERROR)
    # Small tensors (counts, seeds) are exchanged between CPUs even where gradients travel between GPUs.
    backend = "cpu:gloo,cuda:nccl" if job.gpus else "gloo"
    trainer = TorchTrainer(
        work,
        train_loop_config=job,
        torch_config=TorchConfig(backend=backend),
        scaling_config=elastic.scaling(job),
        run_config=elastic.running(job),
    )
    try:
        trainer.fit()
    except Exception as error:  # noqa: BLE001 - Ray Train's own errors do not survive being sent to another process
        return _reason(error)
    return None


def _start(job: Job, fitter: Any) -> Any:
    """A reference to what `_fit` will return."""
    for past in (FAILED, STOPPED):
        (job.run / past).unlink(missing_ok=True)
    return fitter.fit.remote(job)


def _watch(fit: Any, job: Job, total: int, stage: Stage, progress: Progress) -> None:
    """Show the journal's newest line and end workers that hang, until training ends. Raises what ended it."""
    import ray

    run, said, watchman = job.run, Notes(job.run), Watchman(job.run, job.recipe.train.hang_s)
    shown = 0.0
    while not ray.wait([fit], timeout=WATCH_EVERY_S)[0]:
        machine.check_stop()
        for note in said.new():
            progress.say(note["text"])
        if (run / FAILED).is_file():
            raise _failure(run / FAILED)
        watchman.look()
        for entry in newest(run / "metrics.jsonl", 1):
            if entry["time"] == shown:
                continue
            metrics, shown = entry["metrics"], entry["time"]
            speed = f"{metrics['tokens_per_s']:.0f} tokens/s, padding {metrics['padding']:.1%}"
            stage.to(entry["step"] + 1, f"loss {metrics['loss']:.3f}, {speed}", total=total)
    try:
        reason = ray.get(fit)
    except ray.exceptions.RayError as error:
        reason = _reason(error)
    if reason:
        # What ended it may have been written down since the last look.
        raise _failure(run / FAILED) if (run / FAILED).is_file() else TrainingFailed(reason)


def _failure(file: Path) -> Exception:
    """What a worker wrote down before it ended."""
    found = read_json(file)
    if "refused" in found:
        return UserError(found["refused"])
    return TrainingFailed(f"{found['error'].strip().splitlines()[-1]}; the traceback is in {file}")


def _reason(error: Exception) -> str:
    failures = getattr(error, "worker_failures", None)
    if failures:
        rank, first = next(iter(failures.items()))
        return f"worker {rank}: {str(first).strip().splitlines()[-1]}"
    return str(error).strip().splitlines()[-1]
