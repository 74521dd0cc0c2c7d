"""From a recipe to a registered model version: the stages in the order they happen."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import gb_ray
from gb_ray import machine
from gb_ray.corpus.corpus import Corpus
from gb_ray.inputs import Corpora, Inputs, code_digest, corpora_digest
from gb_ray.measure import forgetting, results, scores
from gb_ray.measure.evidence import evidence
from gb_ray.model import package
from gb_ray.progress import Progress
from gb_ray.recipe import Recipe
from gb_ray.registry.card import card
from gb_ray.registry.ledger import Ledger
from gb_ray.registry.promote import promote as promote_version
from gb_ray.registry.section import Policy
from gb_ray.registry.shipper import Shipper
from gb_ray.registry.tracking import Tracking
from gb_ray.registry.versions import Version, register, resolve
from gb_ray.report import report
from gb_ray.section import UserError
from gb_ray.train import orders, samples, skips
from gb_ray.train import run as runs
from gb_ray.train.account.goodput import goodput
from gb_ray.train.account.life import Life
from gb_ray.train.planning.plan import plan
from gb_ray.train.run import Run
from gb_ray.train.section import TrainSection
from gb_ray.train.trainer import RunStopped, fit, require_workers, standby, use_gpus

SHIP_WITHIN_S = 30.0


class NotRegistered(Exception):
    """Training is done and its model is on disk, but the tracking server did not take it."""


def finetune(
    inputs: Inputs, home: Path, tracking: Tracking, progress: Progress, reuse: bool = False, began: float | None = None
) -> dict[str, Any]:
    """Corpus, training, evaluation, registration. Ray must be up. Returns the account that `--json` prints.

    An unfinished run of the same recipe, corpus and code goes on from its last checkpoint; with `reuse` a finished one
    is returned as it is. The run's account begins at `began` (seconds since 1970), or now. Raises UserError,
    TrainingFailed, NotRegistered, and RunStopped when `gb stop` ended it.
    """
    began = began or time.time()
    if inputs.recipe.train.replay and not inputs.parent:
        raise UserError(samples.NO_PARENT)
    require_workers(inputs.recipe)
    corpora = inputs.to_train_on(home, progress)
    key = inputs.key(corpora)
    name = inputs.recipe.name
    if reuse and (done := runs.find(home, name, key, finished=True)):
        progress.say(f"run {done.path.name}: unchanged since it finished, reused")
        return dict(done.state["account"])
    run = runs.find(home, name, key, finished=False) or runs.create(home, name, key)
    with run.locked():
        return _live(inputs, corpora, run, tracking, progress, began)


def finish(run: Run, tracking: Tracking, shipper: Shipper, progress: Progress) -> dict[str, Any]:
    """Send what the tracking server has not got yet and register the model; returns the run's account.

    Raises NotRegistered when the server does not take it: everything stays on disk, and `gb register` calls this again.
    """
    account, run_id = run.state["account"], run.state["run_id"]
    try:
        with progress.stage("register"):
            if not shipper.close(SHIP_WITHIN_S):
                raise ConnectionError(f"it did not take the metrics within {SHIP_WITHIN_S:.0f} s")
            tracking.metrics(run_id, results.flat(account) | forgetting.flat(account), step=account["steps"])
            tracking.artifact(run_id, run.path / results.SLICES)
            account["model"] = describe(register(tracking, run.model, run_id))
            tracking.finish(run_id, "FINISHED")
    except Exception as error:
        raise NotRegistered(
            f"the tracking server did not take the model: {str(error).strip().splitlines()[0]}\n"
            f"The model is kept in {run.model}. When the server is back: gb register {run.path}"
        ) from error
    run.update(status="finished", account=account | {"goodput": goodput(run.path)})
    _show(run, tracking, run_id, progress)
    return dict(run.state["account"])


def _show(run: Run, tracking: Tracking, run_id: str, progress: Progress) -> None:
    """Write the page about a run and send it. The model is registered by now, and stays so without a page."""
    try:
        page = report.write(run)
    except Exception as error:  # noqa: BLE001
        progress.say(f"the report could not be written: {error}; when that is mended: gb report {run.path}")
        return
    try:
        tracking.artifact(run_id, page)
    except Exception as error:  # noqa: BLE001
        progress.say(f"the tracking server did not take {page}: {error}")


def promote(
    name: str, number: str, home: Path, tracking: Tracking, policy: Policy | None, progress: Progress
) -> dict[str, Any]:
    """Take a version through the gate, measured beside the champion on the split its corpus held out. Ray must be up.

    The policy is the one the version was trained with, unless another is given.
    """
    version = resolve(tracking, home, f"models:/{name}/{number}")
    manifest = package.verify(version.path)
    policy = policy or Policy.model_validate(manifest["policy"])
    # The corpora are those it was trained on: a split of another may hold rows that it learnt.
    corpora = {task: Corpus.find(home, digest) for task, digest in package.corpora_of(manifest).items()}
    workers = TrainSection.model_validate(manifest["recipe"]["train"]).most

    def measure(model: Path) -> dict[str, float]:
        return evidence(model, version.path, corpora, policy.split, workers)

    with progress.stage("gate"):
        outcome = promote_version(tracking, home, version, policy, measure, several=len(corpora) > 1)
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
    inputs: Inputs, corpora: Corpora, run: Run, tracking: Tracking, progress: Progress, began: float
) -> dict[str, Any]:
    """One life of the run, whose state and seconds are known however it ends, but by SIGKILL."""
    orders.forget(run.path)
    run.update(status="running")
    life, ended, why = Life(run.path, began), "failed", None
    try:
        account = _carry_through(inputs, corpora, run, tracking, progress, life)
        ended = "finished"
        return account
    except (KeyboardInterrupt, RunStopped):  # Stopped, or what Ray makes of it
        ended = "stopped"
        raise
    except Exception as error:
        why = str(machine.cause(error))
        raise
    finally:
        run.update(status=ended, why=why)
        life.close(ended)


def _carry_through(
    inputs: Inputs, corpora: Corpora, run: Run, tracking: Tracking, progress: Progress, life: Life
) -> dict[str, Any]:
    workers, parent = inputs.recipe.train.most, inputs.parent
    fitter = standby() if run.result is None else None
    with life.spends("prepare"):
        run_id = _run_id(inputs, corpora, run, tracking, progress)
        for line in plan(inputs.recipe, corpora, inputs.backbone, use_gpus(inputs.recipe)).lines():
            progress.say(f"plan: {line}")
        inputs = replace(inputs, tasks={name: task.prepare(corpora[name]) for name, task in inputs.tasks.items()})
        recipe, old = _start(inputs, corpora, run, progress)
    shipper = Shipper(run.journal, tracking, run_id)
    try:
        if "before" not in run.state:
            with progress.stage("before"), life.spends("before"):
                found = scores.of_new(recipe.model, inputs.tasks, corpora, recipe.seed, workers)
                if parent:
                    parent.measure(run.path, corpora, workers)
                run.update(before=results.keep(found, "before", run.path))
        with life.spends("train"):
            states = {name: task.state for name, task in inputs.tasks.items()}
            described = manifest(inputs, corpora, run_id) | ({"from": run.state["from"]} if parent else {})
            trained = fit(recipe, corpora, run, described, states, progress, fitter, old)
        with progress.stage("after"), life.spends("after"):
            raw = scores.of_model(run.model, corpora, scores.MEASURED, workers)
            found, calibration = results.calibrated(run.model, raw)
            measured: dict[str, Any] = {"metrics": results.keep(found, "after", run.path), "calibration": calibration}
            measured |= {"before": run.state["before"], **results.findings(run.path, found)}
            if parent:
                measured |= {"from": run.state["from"], "forgetting": parent.forgotten(run, corpora, workers)}
        (run.model / "README.md").write_text(card(results.tell(run.model, measured)), encoding="utf-8")
        account = {"run_id": run_id, "page": run.state["page"], **trained, **measured}
        account |= {"corpus": _summary(corpora)}
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


def _start(inputs: Inputs, corpora: Corpora, run: Run, progress: Progress) -> tuple[Recipe, Corpora]:
    """The recipe to train, with the weights to begin with in place of the backbone; and the corpora to replay."""
    recipe, parent = inputs.recipe, inputs.parent
    if parent is None:
        return recipe, {}
    if "from" not in run.state:
        run.update(**{"from": parent.account(corpora, recipe.train.replay, progress)})
    replayed = parent.corpora if recipe.train.replay else {}
    return parent.start(recipe, corpora, run.path, inputs.tasks), replayed


def _end(tracking: Tracking, run_id: str, status: Literal["FAILED", "KILLED"], progress: Progress) -> None:
    """Mark the run, without hiding why it ended when the server cannot be told."""
    try:
        tracking.finish(run_id, status)
    except Exception as error:  # noqa: BLE001 - another error is already on its way up
        progress.say(f"run {run_id} could not be marked {status}: {error}")


def _run_id(inputs: Inputs, corpora: Corpora, run: Run, tracking: Tracking, progress: Progress) -> str:
    """The MLflow run of this run: one for its whole life."""
    if run_id := run.state.get("run_id"):
        progress.say(f"run {run.path.name}: goes on where it stopped")
        tracking.resume_run(run_id)
        return str(run_id)
    recipe, parent = inputs.recipe, inputs.parent
    more = {"from": parent.version.uri, "from_weights_sha256": parent.version.weights_sha256} if parent else {}
    run_id = open_run(recipe, corpora, run.path, tracking, **more)
    # Asked for now: at the end the server may be away.
    run.update(run_id=run_id, page=tracking.page(run_id))
    return run_id


def open_run(recipe: Recipe, corpora: Corpora, folder: Path, tracking: Tracking, **more: str) -> str:
    """Start the MLflow run of what is done in `folder`, with `more` tags, and return its id."""
    sections = {"train": recipe.train, "model": recipe.model}
    params = {
        f"{name}.{key}": value for name, section in sections.items() for key, value in section.model_dump().items()
    }
    digest = corpora_digest(_digests(corpora))
    tags = {"corpus_digest": digest, "recipe_digest": recipe.digest(), "directory": str(folder)}
    return tracking.start_run(recipe.name, folder.name, params | {"seed": recipe.seed}, tags | more)


def manifest(inputs: Inputs, corpora: Corpora, run_id: str) -> dict[str, Any]:
    """What the exported model says of itself."""
    recipe, digests = inputs.recipe, _digests(corpora)
    described = {
        name: {
            "type": section.type,
            "labels": corpora[name].manifest.labels,
            "section": section.model_dump(mode="json"),
        }
        for name, section in recipe.tasks.items()
    }
    splits = [corpus.manifest.splits for corpus in corpora.values()]
    return {
        "name": recipe.name,
        "run_id": run_id,
        "tasks": described,
        "max_tokens": recipe.model.max_tokens,
        "recipe": recipe.model_dump(mode="json"),
        "policy": inputs.policy.model_dump(mode="json"),
        "recipe_digest": recipe.digest(),
        "corpus_digest": corpora_digest(digests),
        **({"corpora": digests} if len(digests) > 1 else {}),
        "corpus": {name: sum(entry[name].samples for entry in splits) for name in splits[0]},
        "code": {"version": gb_ray.__version__, "sha256": code_digest()},
    }


def _digests(corpora: Corpora) -> dict[str, str]:
    return {name: corpus.manifest.digest for name, corpus in corpora.items()}


def _summary(corpora: Corpora) -> dict[str, Any]:
    """The account of the corpus, or with several tasks of each corpus by task."""
    found = {name: corpus.manifest.summary(corpus.uri) for name, corpus in corpora.items()}
    return found if len(found) > 1 else next(iter(found.values()))
