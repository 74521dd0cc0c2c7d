"""From a recipe to a registered model version: the stages in the order they happen."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import gb_ray
from gb_ray.corpus import build
from gb_ray.corpus.corpus import Corpus
from gb_ray.corpus.plan import Plan as CorpusPlan
from gb_ray.corpus.plan import prepare
from gb_ray.files import sha256
from gb_ray.measure import results, scores
from gb_ray.model import load, package
from gb_ray.progress import Progress
from gb_ray.recipe import Recipe, load_policy
from gb_ray.registry.card import card
from gb_ray.registry.ledger import Ledger
from gb_ray.registry.promote import promote as promote_version
from gb_ray.registry.section import Policy
from gb_ray.registry.shipper import Shipper
from gb_ray.registry.tracking import Tracking
from gb_ray.registry.versions import Version, register, resolve
from gb_ray.report import report
from gb_ray.tasks.task import Task, make
from gb_ray.train import orders, skips
from gb_ray.train import run as runs
from gb_ray.train.account.goodput import goodput
from gb_ray.train.account.life import Life
from gb_ray.train.planning.plan import plan
from gb_ray.train.run import Run
from gb_ray.train.section import TrainSection
from gb_ray.train.trainer import RunStopped, fit, require_workers, standby, use_gpus

SHIP_WITHIN_S = 30.0
DECIDES = ("corpus/reading", "tasks", "model", "train")
MEASURED = ("validation", "test")


class NotRegistered(Exception):
    """Training is done and its model is on disk, but the tracking server did not take it."""


@dataclass(frozen=True)
class Inputs:
    """A recipe with everything it names found and checked."""

    recipe: Recipe
    policy: Policy
    backbone: Path
    task: Task
    corpus: CorpusPlan


def check(recipe: Recipe, path: Path) -> Inputs:
    """Look at every input of the recipe in the file `path` before anything is started. Raises UserError."""
    backbone = load.backbone(recipe.model)
    name, section = recipe.task
    task = make(section, str(backbone), recipe.model.max_tokens, recipe.corpus.min_chars)
    policy = load_policy(path.parent / recipe.registry.policy)
    return Inputs(recipe, policy, backbone, task, prepare(recipe.name, name, recipe.corpus, task, backbone))


def finetune(
    inputs: Inputs, home: Path, tracking: Tracking, progress: Progress, reuse: bool = False, began: float | None = None
) -> dict[str, Any]:
    """Corpus, training, evaluation, registration. Ray must be up. Returns the account that `--json` prints.

    An unfinished run of the same recipe, corpus and code goes on from its last checkpoint; with `reuse` a finished one
    is returned as it is. The run's account begins at `began` (seconds since 1970), or now. Raises UserError,
    TrainingFailed, NotRegistered, and RunStopped when `gb stop` ended it.
    """
    began = began or time.time()
    require_workers(inputs.recipe)
    if found := build.existing(inputs.corpus, home):
        progress.say(f"corpus {found.path.name}: unchanged, reused")
    corpus = found or build.build(inputs.corpus, home, progress)
    key, name = _key(inputs, corpus), inputs.recipe.name
    if reuse and (done := runs.find(home, name, key, finished=True)):
        progress.say(f"run {done.path.name}: unchanged since it finished, reused")
        return dict(done.state["account"])
    run = runs.find(home, name, key, finished=False) or runs.create(home, name, key)
    with run.locked():
        return _live(inputs, corpus, run, tracking, progress, began)


def finish(run: Run, tracking: Tracking, shipper: Shipper, progress: Progress) -> dict[str, Any]:
    """Send what the tracking server has not got yet and register the model; returns the run's account.

    Raises NotRegistered when the server does not take it: everything stays on disk, and `gb register` calls this again.
    """
    account, run_id = run.state["account"], run.state["run_id"]
    try:
        with progress.stage("register"):
            if not shipper.close(SHIP_WITHIN_S):
                raise ConnectionError(f"it did not take the metrics within {SHIP_WITHIN_S:.0f} s")
            tracking.metrics(run_id, results.flat(account), step=account["steps"])
            tracking.artifact(run_id, run.path / results.SLICES)
            account["model"] = describe(register(tracking, run.model, run_id))
            tracking.finish(run_id, "FINISHED")
    except Exception as error:
        raise NotRegistered(
            f"the tracking server did not take the model: {str(error).strip().splitlines()[0]}\n"
            f"The model is kept in {run.model}. When the server is back: gb register {run.path}"
        ) from error
    run.update(status="finished", account=account | {"goodput": goodput(run.path)})
    page = report.write(run)
    try:
        tracking.artifact(run_id, page)
    except Exception as error:  # noqa: BLE001 - the model is registered, and the page is here
        progress.say(f"the tracking server did not take {page}: {error}")
    return dict(run.state["account"])


def promote(
    name: str, number: str, home: Path, tracking: Tracking, policy: Policy | None, progress: Progress
) -> dict[str, Any]:
    """Take a version through the gate, measured beside the champion on the split its corpus held out. Ray must be up.

    The policy is the one the version was trained with, unless another is given.
    """
    version = resolve(tracking, home, f"models:/{name}/{number}")
    manifest = package.verify(version.path)
    policy = policy or Policy.model_validate(manifest["policy"])
    # The corpus is the one it was trained on: a split of another may hold rows that it learnt.
    corpus = Corpus.find(home, manifest["corpus_digest"])
    workers = TrainSection.model_validate(manifest["recipe"]["train"]).most

    def metrics_of(model: Path) -> dict[str, float]:
        return scores.of_model(model, corpus, (policy.split,), workers)[policy.split].metrics

    with progress.stage("gate"):
        outcome = promote_version(tracking, home, version, policy, metrics_of)
    ledger = Ledger(home, name).verify()
    moved = f"is version {number}" if outcome.gate.passed else f"stays, version {number} was refused"
    return {
        "model": describe(version),
        "gate": outcome.gate.model_dump(mode="json"),
        "ledger": {"size": ledger.size, "head": ledger.head},
        "outcome": f"champion of {name} {moved}",
    }


def describe(version: Version) -> dict[str, Any]:
    """A version as commands print it."""
    return {
        "name": version.name,
        "version": version.version,
        "uri": version.uri,
        "path": str(version.path),
        "weights_sha256": version.weights_sha256,
    }


def _live(
    inputs: Inputs, corpus: Corpus, run: Run, tracking: Tracking, progress: Progress, began: float
) -> dict[str, Any]:
    """One life of the run, whose state and seconds are known however it ends, but by SIGKILL."""
    orders.forget(run.path)
    run.update(status="running")
    life, ended, why = Life(run.path, began), "failed", None
    try:
        account = _carry_through(inputs, corpus, run, tracking, progress, life)
        ended = "finished"
        return account
    except (KeyboardInterrupt, RunStopped):  # Stopped, or what Ray makes of it
        ended = "stopped"
        raise
    except Exception as error:
        why = str(error)
        raise
    finally:
        run.update(status=ended, why=why)
        life.close(ended)


def _carry_through(
    inputs: Inputs, corpus: Corpus, run: Run, tracking: Tracking, progress: Progress, life: Life
) -> dict[str, Any]:
    recipe, workers = inputs.recipe, inputs.recipe.train.most
    fitter = standby() if run.result is None else None
    with life.spends("prepare"):
        run_id = _open_run(recipe, corpus, run, tracking, progress)
        for line in plan(recipe, corpus, inputs.backbone, use_gpus(recipe)).lines():
            progress.say(f"plan: {line}")
        inputs = replace(inputs, task=inputs.task.prepare(corpus))
    shipper = Shipper(run.journal, tracking, run_id)
    try:
        if "before" not in run.state:
            with progress.stage("before"), life.spends("before"):
                make_model = partial(load.new, recipe.model, inputs.task, corpus.manifest.labels, recipe.seed)
                found = scores.of_splits(make_model, inputs.task, corpus, MEASURED, workers)
                run.update(before=results.keep(found, "before", run.path, corpus.manifest.task))
        with life.spends("train"):
            trained = fit(recipe, corpus, run, _manifest(inputs, corpus, run_id), progress, fitter)
        with progress.stage("after"), life.spends("after"):
            found = scores.of_model(run.model, corpus, MEASURED, workers)
            measured = {"metrics": results.keep(found, "after", run.path, corpus.manifest.task)}
            measured |= {"before": run.state["before"], **results.findings(run.path, found, corpus.manifest.task)}
        (run.model / "README.md").write_text(card(results.tell(run.model, measured)), encoding="utf-8")
        account = {"run_id": run_id, "page": run.state["page"], **trained, **measured}
        account |= {"corpus": corpus.manifest.summary(corpus.uri)}
        run.update(account=account | {"left_out": skips.account(run.path)})
        with life.spends("register"):
            return finish(run, tracking, shipper, progress)
    except (KeyboardInterrupt, RunStopped) as stop:
        # The one who sends a signal may be in a hurry: the status first, then what the metrics still need.
        _end(tracking, run_id, "KILLED", progress)
        shipper.close(SHIP_WITHIN_S if isinstance(stop, RunStopped) else 1.0)
        raise
    except NotRegistered:
        raise
    except BaseException:
        _end(tracking, run_id, "FAILED", progress)
        raise


def _end(tracking: Tracking, run_id: str, status: Literal["FAILED", "KILLED"], progress: Progress) -> None:
    """Mark the run, without hiding why it ended when the server cannot be told."""
    try:
        tracking.finish(run_id, status)
    except Exception as error:  # noqa: BLE001 - another error is already on its way up
        progress.say(f"run {run_id} could not be marked {status}: {error}")


def _open_run(recipe: Recipe, corpus: Corpus, run: Run, tracking: Tracking, progress: Progress) -> str:
    """The MLflow run of this run: one for its whole life."""
    if run_id := run.state.get("run_id"):
        progress.say(f"run {run.path.name}: goes on where it stopped")
        tracking.resume_run(run_id)
        return str(run_id)
    sections = {"train": recipe.train, "model": recipe.model}
    params = {
        f"{name}.{key}": value for name, section in sections.items() for key, value in section.model_dump().items()
    }
    tags = {"corpus_digest": corpus.manifest.digest, "recipe_digest": recipe.digest(), "directory": str(run.path)}
    run_id = tracking.start_run(recipe.name, run.path.name, params | {"seed": recipe.seed}, tags)
    # Asked for now: at the end the server may be away.
    run.update(run_id=run_id, page=tracking.page(run_id))
    return run_id


def _manifest(inputs: Inputs, corpus: Corpus, run_id: str) -> dict[str, Any]:
    """What the exported model says of itself."""
    recipe = inputs.recipe
    name, section = recipe.task
    described = {"type": section.type, "labels": corpus.manifest.labels, "section": section.model_dump(mode="json")}
    return {
        "name": recipe.name,
        "run_id": run_id,
        "tasks": {name: described},
        "max_tokens": recipe.model.max_tokens,
        "recipe": recipe.model_dump(mode="json"),
        "policy": inputs.policy.model_dump(mode="json"),
        "recipe_digest": recipe.digest(),
        "corpus_digest": corpus.manifest.digest,
        "corpus": {name: split.samples for name, split in corpus.manifest.splits.items()},
        "code": {"version": gb_ray.__version__, "sha256": code_digest()},
    }


def _key(inputs: Inputs, corpus: Corpus) -> str:
    """sha256 (hex) of everything that decides a run's weights: the same key, the same run."""
    weights = [sha256(file) for file in sorted(inputs.backbone.glob("*.safetensors"))]
    parts = [inputs.recipe.digest(), corpus.manifest.digest, *weights, code_digest()]
    return hashlib.sha256("/".join(parts).encode()).hexdigest()


def code_digest() -> str:
    """sha256 (hex) of the source that decides a run's weights: it is there also where no version control is."""
    folder = Path(gb_ray.__file__).parent
    digest = hashlib.sha256()
    for file in sorted(file for part in DECIDES for file in (folder / part).rglob("*.py")):
        digest.update(f"{file.relative_to(folder)} {sha256(file)}\n".encode())
    return digest.hexdigest()
