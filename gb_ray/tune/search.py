"""The search, seen from the driver: what it works on, and its life through kills."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from gb_ray import finetune, machine
from gb_ray.inputs import Corpora, Inputs
from gb_ray.progress import Progress
from gb_ray.registry.tracking import Tracking
from gb_ray.section import UserError
from gb_ray.train import samples
from gb_ray.train.run import Run, write_json
from gb_ray.train.schedule import steps_per_epoch
from gb_ray.train.trainer import require_workers, use_gpus
from gb_ray.tune import metric as metrics
from gb_ray.tune import outcome, searcher, space
from gb_ray.tune.board import Board
from gb_ray.tune.ledger import ranked
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
    if inputs.recipe.train.replay:
        raise UserError(samples.NO_PARENT)
    require_workers(inputs.recipe)
    corpora = inputs.to_train_on(home, progress)
    inputs = replace(inputs, tasks={name: task.prepare(corpora[name]) for name, task in inputs.tasks.items()})
    metric = metrics.chosen(section.metric, inputs.tasks, corpora, str(path))
    search = _search(inputs, section, corpora, home, metric)
    _require(search, str(path))
    if not (search.folder / "run.json").is_file():
        search.folder.mkdir(parents=True, exist_ok=True)
        write_json(search.folder / "run.json", {"key": search.key, "name": inputs.recipe.name, "status": "running"})
    run = Run(search.folder)
    with run.locked():
        return _live(search, run, outcome.Place(path, home, corpora, tracking, progress))


def _search(inputs: Inputs, section: SearchSection, corpora: Corpora, home: Path, metric: str) -> Search:
    recipe = inputs.recipe
    sought = section.model_dump(mode="json", exclude={"parallel", "trials"}) | {"metric": metric}
    key = hashlib.sha256(f"{inputs.key(corpora)}/{json.dumps(sought, sort_keys=True)}".encode()).hexdigest()
    alone = recipe.model_copy(update={"train": recipe.train.model_copy(update={"workers": 1})})
    return Search(
        recipe=recipe.model_copy(update={"search": None}),
        section=section,
        corpora={name: corpus.folder for name, corpus in corpora.items()},
        states={name: task.state for name, task in inputs.tasks.items()},
        samples=sum(corpus.manifest.splits["train"].epoch for corpus in corpora.values()),
        folder=home / "searches" / f"{recipe.name}-{key[:8]}",
        key=key,
        gpus=use_gpus(alone),
        metric=metric,
    )


def _require(search: Search, where: str) -> None:
    """Raises UserError for fewer steps than marks, or when this Ray cannot run that many trials at once."""
    section, train = search.section, search.recipe.train
    batches = section.space["train.batch"].samples if "train.batch" in section.space else [train.batch]
    total = steps_per_epoch(search.samples, max(batches)) * train.epochs
    if total < search.marks[-1]:
        raise UserError(
            f"{where}: search.asha: a trial of {total} steps cannot be measured after 1/{search.marks[-1]} of them; "
            "set rungs or factor lower"
        )
    gpus = section.parallel if search.gpus else 0
    machine.require(section.parallel, gpus, f"search.parallel={section.parallel}", "set it to what there is")


def _live(search: Search, run: Run, place: outcome.Place) -> dict[str, Any]:
    """One life of the search, whose state is known however it ends, but by SIGKILL."""
    tracking, progress, wanted = place.tracking, place.progress, search.section.trials
    before = sum(1 for trial in search.ledger.trials() if trial.ended)
    _open(search, run, place)
    board = Board(search, run, place.corpora, tracking, progress)
    try:
        if before < wanted and run.state.get("trials", 0) < wanted:
            if before:
                progress.say(f"search {run.path.name}: goes on; {before} of {wanted} trials have ended")
            _watch(search, board, progress)
            # Fewer may have ended than were proposed: the same values are one trial.
            run.update(trials=wanted)
        trials = ranked(search.ledger.trials(), search.metric, search.better)
        board.record(trials)
        if trials[0].ended != "full":
            raise SearchFailed(f"no trial was trained to its end: {trials[0].why}")
        file = outcome.write(search, run, trials, place)
        account = outcome.register(search, run, trials[0], file, place)
        tracking.finish(run.state["run_id"], "FINISHED")
        run.update(status="finished")
    except KeyboardInterrupt:
        _close(run, "stopped", "KILLED", place)
        raise
    except BaseException:
        _close(run, "failed", "FAILED", place)
        raise
    return {"search": outcome.account(search, run, trials, file) | {"ended_before": before}} | account


def _open(search: Search, run: Run, place: outcome.Place) -> None:
    """The MLflow run above the trials: one for the whole life of the search."""
    if run_id := run.state.get("run_id"):
        place.tracking.resume_run(run_id)
    else:
        run_id = finetune.open_run(search.recipe, place.corpora, run.path, place.tracking, search=search.metric)
        run.update(run_id=run_id)
    run.update(status="running")


def _close(run: Run, status: str, told: Literal["FAILED", "KILLED"], place: outcome.Place) -> None:
    run.update(status=status)
    try:
        place.tracking.finish(run.state["run_id"], told)
    except Exception as error:  # noqa: BLE001 - another error is already on its way up
        place.progress.say(f"the search's run could not be marked {told}: {error}")


def _watch(search: Search, board: Board, progress: Progress) -> None:
    """Until all trials have ended. Raises SearchFailed."""
    import ray

    handle = searcher.start()
    going = handle.search.remote(search)
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
