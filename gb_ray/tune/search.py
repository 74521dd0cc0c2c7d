"""The search, seen from the driver: what it works on, its life through kills, and what becomes of the best trial."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from gb_ray import finetune, machine
from gb_ray.inputs import Corpora, Inputs, check
from gb_ray.model import package
from gb_ray.progress import Progress
from gb_ray.recipe import load
from gb_ray.registry.tracking import Tracking
from gb_ray.section import UserError
from gb_ray.train.run import Run, adopt, find, write_json
from gb_ray.train.schedule import steps_per_epoch
from gb_ray.train.trainer import require_workers, use_gpus
from gb_ray.tune import metric as metrics
from gb_ray.tune import searcher, space
from gb_ray.tune.board import Board
from gb_ray.tune.chart import chart
from gb_ray.tune.ledger import Trial, cost, ranked
from gb_ray.tune.section import SearchSection
from gb_ray.tune.trial import Search

WATCH_EVERY_S = 0.5


class SearchFailed(Exception):
    """No trial was trained to its end, or what runs them failed."""


def tune(inputs: Inputs, path: Path, home: Path, tracking: Tracking, progress: Progress) -> dict[str, Any]:
    """Run the trials that are left of the recipe in the file `path` and register the best one. Ray must be up.

    A search of the same space, recipe, corpus and code goes on: trials that ended are not run again, others go on from
    their last checkpoints, and more `trials` add to those there are. The test split decides nothing. Returns the
    account: that of `finetune` for the best one, and `search`. Raises UserError, SearchFailed, NotRegistered.
    """
    section = space.check(inputs.recipe, str(path))
    require_workers(inputs.recipe)
    corpora = inputs.built(home, progress)
    inputs = replace(inputs, tasks={name: task.prepare(corpora[name]) for name, task in inputs.tasks.items()})
    metric = metrics.chosen(section.metric, inputs.tasks, corpora, str(path))
    search = _search(inputs, section, corpora, home, metric)
    _require(search, section, str(path))
    run = _run(search)
    with run.locked():
        return _live(search, section, run, inputs, corpora, path, home, tracking, progress)


def _search(inputs: Inputs, section: SearchSection, corpora: Corpora, home: Path, metric: str) -> Search:
    recipe = inputs.recipe
    sought = section.model_dump(mode="json", exclude={"parallel", "trials"}) | {"metric": metric}
    parts = (inputs.key(corpora), json.dumps(sought, sort_keys=True))
    key = hashlib.sha256("/".join(parts).encode()).hexdigest()
    alone = recipe.model_copy(update={"train": recipe.train.model_copy(update={"workers": 1})})
    return Search(
        recipe.model_copy(update={"search": None}),
        {name: corpus.folder for name, corpus in corpora.items()},
        {name: task.state for name, task in inputs.tasks.items()},
        sum(corpus.manifest.splits["train"].epoch for corpus in corpora.values()),
        home / "searches" / f"{recipe.name}-{key[:8]}",
        key,
        use_gpus(alone),
        metric,
        section.asha.marks,
    )


def _require(search: Search, section: SearchSection, where: str) -> None:
    """Raises UserError for fewer steps than marks, or when this Ray cannot run that many trials at once."""
    batches = section.space["train.batch"].samples if "train.batch" in section.space else [search.recipe.train.batch]
    total = steps_per_epoch(search.samples, max(batches)) * search.recipe.train.epochs
    if total < search.marks[-1]:
        raise UserError(
            f"{where}: search.asha: a trial of {total} steps cannot be measured after 1/{search.marks[-1]} of them; "
            "set rungs or factor lower"
        )
    gpus = section.parallel if search.gpus else 0
    machine.require(section.parallel, gpus, f"search.parallel={section.parallel}", "set it to what there is")


def _run(search: Search) -> Run:
    file = search.folder / "run.json"
    if not file.is_file():
        search.folder.mkdir(parents=True, exist_ok=True)
        write_json(file, {"key": search.key, "name": search.recipe.name, "status": "running"})
    return Run(search.folder)


def _live(
    search: Search,
    section: SearchSection,
    run: Run,
    inputs: Inputs,
    corpora: Corpora,
    path: Path,
    home: Path,
    tracking: Tracking,
    progress: Progress,
) -> dict[str, Any]:
    """One life of the search, whose state is known however it ends, but by SIGKILL."""
    before = sum(1 for trial in search.ledger.trials() if trial.ended)
    _open(search, run, corpora, tracking)
    board = Board(search, metrics.direction(search.metric), run, corpora, tracking, progress, section.trials)
    try:
        if run.state.get("trials", 0) < section.trials:
            if before:
                progress.say(f"search {run.path.name}: goes on; {before} of {section.trials} trials have ended")
            _watch(search, section, board, progress)
            run.update(trials=section.trials)
        trials = ranked(search.ledger.trials(), search.metric, metrics.direction(search.metric))
        if trials[0].ended != "full":
            raise SearchFailed(f"no trial was trained to its end; the first failed: {trials[0].why}")
        board.record(trials)
        file = _best(search, run, trials, section, path, tracking)
        account = _register(search, trials[0], run, corpora, file, home, tracking, progress)
        tracking.finish(run.state["run_id"], "FINISHED")
        run.update(status="finished")
    except KeyboardInterrupt:
        _close(run, "stopped", "KILLED", tracking, progress)
        raise
    except BaseException:
        _close(run, "failed", "FAILED", tracking, progress)
        raise
    return {"search": _account(search, trials, run, before, file)} | account


def _open(search: Search, run: Run, corpora: Corpora, tracking: Tracking) -> None:
    """The MLflow run above the trials: one for the whole life of the search."""
    if run_id := run.state.get("run_id"):
        tracking.resume_run(run_id)
    else:
        run.update(run_id=finetune.open_run(search.recipe, corpora, run.path, tracking, search=search.metric))
    run.update(status="running")


def _close(run: Run, status: str, told: Any, tracking: Tracking, progress: Progress) -> None:
    run.update(status=status)
    try:
        tracking.finish(run.state["run_id"], told)
    except Exception as error:  # noqa: BLE001 - another error is already on its way up
        progress.say(f"the search's run could not be marked {told}: {error}")


def _watch(search: Search, section: SearchSection, board: Board, progress: Progress) -> None:
    """Until all trials have ended. Raises SearchFailed."""
    import ray

    handle = searcher.start()
    going = handle.search.remote(search, section, metrics.direction(search.metric))
    with progress.stage("tune", unit="trials") as stage:
        while not ray.wait([going], timeout=WATCH_EVERY_S)[0]:
            machine.check_stop()
            board.show(stage)
        board.show(stage)
    try:
        reason = ray.get(going)
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[-1]
    if reason:
        raise SearchFailed(f"{reason}; the trials that ended are kept, and the same command goes on")


def _best(
    search: Search, run: Run, trials: list[Trial], section: SearchSection, path: Path, tracking: Tracking
) -> Path:
    """Write the best trial's recipe and the chart into the search's folder, and show them in MLflow."""
    content = space.with_values(search.recipe, trials[0].values, "the best trial")
    written = content.model_dump(mode="json", exclude={"search"}, exclude_unset=True)
    policy = path.parent / search.recipe.registry.policy
    written["registry"] = written.get("registry", {}) | {"policy": str(policy.absolute())}
    file, picture = run.path / "best.yaml", run.path / "trials.svg"
    value = trials[0].curve[-1].metrics[search.metric]
    head = f"# Trial {trials[0].number} of {run.path.name}, the best of {len(trials)}: {search.metric} {value:.4f}\n"
    file.write_text(head + yaml.safe_dump(written, sort_keys=False, allow_unicode=True), encoding="utf-8")
    picture.write_text(chart(trials, section, search.metric), encoding="utf-8")
    for one in (file, picture):
        tracking.artifact(run.state["run_id"], one)
    tracking.artifact(run.state["sent"][trials[0].name]["run_id"], file)
    best = {f"best_validation_{name}": value for name, value in trials[0].curve[-1].metrics.items()}
    tracking.metrics(run.state["run_id"], best | {"cost": cost(trials)}, step=len(trials))
    return file


def _register(
    search: Search,
    best: Trial,
    run: Run,
    corpora: Corpora,
    file: Path,
    home: Path,
    tracking: Tracking,
    progress: Progress,
) -> dict[str, Any]:
    """The best trial becomes a run like any other, which `finetune` measures and registers. Returns its account.

    Where a run of the same recipe is there already, that is the one: its weights are the same.
    """
    inputs = check(load(file), file)
    key, name = inputs.key(corpora), inputs.recipe.name
    if not (find(home, name, key, finished=True) or find(home, name, key, finished=False)):
        made = search.ledger.run(best.name)
        run_id = run.state["sent"][best.name]["run_id"]
        package.amend(made / "model", **finetune.manifest(inputs, corpora, run_id))
        adopt(home, name, key, made, run_id=run_id, page=tracking.page(run_id))
    for trial in search.ledger.trials():
        shutil.rmtree(search.ledger.run(trial.name) / "model", ignore_errors=True)
    return finetune.finetune(inputs, home, tracking, progress, reuse=True)


def _account(search: Search, trials: list[Trial], run: Run, before: int, file: Path) -> dict[str, Any]:
    told = [
        {
            "name": trial.name,
            "values": trial.values,
            "ended": trial.ended,
            "steps": trial.steps,
            "total": trial.total,
            "value": trial.curve[-1].metrics[search.metric] if trial.curve else None,
        }
        for trial in trials
    ]
    return {
        "path": str(run.path),
        "run_id": run.state["run_id"],
        "metric": search.metric,
        "ended_before": before,
        "cost": round(cost(trials), 4),
        "trials": told,
        "best": str(file),
        "chart": str(run.path / "trials.svg"),
    }
