"""The search: Ray Tune runs trials that Optuna's TPE proposes and ASHA ends early."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from gb_ray.corpus import build
from gb_ray.finetune import Inputs, code_digest
from gb_ray.progress import Progress
from gb_ray.recipe import Recipe
from gb_ray.registry.tracking import Tracking
from gb_ray.train.job import Job
from gb_ray.tune.ledger import Ledger, Trial, cost, ranked
from gb_ray.tune.section import SearchSection, Values
from gb_ray.tune.space import with_values

FIRST = {
    "sequence-classification": "macro_f1",
    "multi-label-classification": "micro_f1",
    "token-classification": "entity_f1",
    "regression": "loss",
}
SMALLER_IS_BETTER = ("mae_", "rmse_", "loss")


class SearchFailed(Exception):
    """Fewer trials ended than were asked for."""


@dataclass(frozen=True)
class Search:
    """What a search works on; it travels to every trial."""

    recipe: Recipe
    section: SearchSection
    corpus: Path | str
    folder: Path
    key: str
    state: dict[str, Any]

    @property
    def ledger(self) -> Ledger:
        """Its trials that have ended."""
        return Ledger(self.folder / "trials")


def tune(
    inputs: Inputs, section: SearchSection, path: Path, home: Path, tracking: Tracking, progress: Progress
) -> dict[str, Any]:
    """Run the trials that are left of the recipe in `path`. Ray must be up. Returns the account; `best` is a file.

    A search of the same recipe, corpus and code that was killed goes on: trials that ended are not run again, those
    that had not start anew. The test split is not read. Raises SearchFailed.
    """
    corpus = build.existing(inputs.corpus, home) or build.build(inputs.corpus, home, progress)
    recipe, task = inputs.recipe, inputs.task.prepare(corpus)
    sought = json.dumps(section.model_dump(mode="json", exclude={"parallel"}), sort_keys=True)
    parts = (recipe.digest(), corpus.manifest.digest, code_digest(), sought)
    key = hashlib.sha256("/".join(parts).encode()).hexdigest()
    folder = home / "tunes" / f"{recipe.name}-{key[:8]}"
    search = Search(recipe, section, corpus.folder, folder, key, task.state)
    metric = section.metric or FIRST[recipe.task[1].type]
    mode = "min" if metric.startswith(SMALLER_IS_BETTER) else "max"
    before = len(search.ledger.trials())
    if before:
        progress.say(f"search {folder.name}: {before} trials ended before, {section.trials - before} are left")
    if before < section.trials:
        with progress.stage("tune"):
            _run(search, metric, mode, tracking)
    trials = ranked(search.ledger.trials(), mode)
    if len(trials) < section.trials:
        raise SearchFailed(f"{len(trials)} of {section.trials} trials ended; what failed the others is said above")
    best = with_values(recipe, trials[0].values, "the best trial")
    content = best.model_dump(mode="json", exclude={"search"})
    content["registry"]["policy"] = str((path.parent / recipe.registry.policy).absolute())
    file = folder / "best.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
    table = [{"name": t.name, "values": t.values, "epochs": len(t.curve), metric: t.score} for t in trials]
    share = cost(trials, recipe.train.epochs)
    account = {"search": str(folder), "metric": metric, "mode": mode, "ended_before": before, "cost": round(share, 4)}
    return account | {"trials": table, "best": str(file)}


def _run(search: Search, metric: str, mode: str, tracking: Tracking) -> None:
    from ray import tune
    from ray.tune.schedulers import AsyncHyperBandScheduler
    from ray.tune.search.optuna import OptunaSearch

    section, done = search.section, search.ledger.trials()
    asha = AsyncHyperBandScheduler(
        time_attr="epoch",
        metric=metric,
        mode=mode,
        max_t=search.recipe.train.epochs,
        grace_period=min(section.asha.grace, search.recipe.train.epochs),
        reduction_factor=section.asha.factor,
    )
    for trial in done:
        _recall(asha, trial, metric)
    known = {
        "points_to_evaluate": [trial.values for trial in done],
        "evaluated_rewards": [trial.score for trial in done],
    }
    # Another seed than before the kill, or the first proposals would be those of the trials that ended.
    sampler = OptunaSearch(
        {key: _distribution(values) for key, values in section.space.items()},
        metric=metric,
        mode=mode,
        seed=search.recipe.seed + len(done),
        **(known if done else {}),
    )
    tune.Tuner(
        tune.with_resources(tune.with_parameters(_trial, search=search, metric=metric), {"cpu": 1}),
        tune_config=tune.TuneConfig(
            search_alg=sampler,
            scheduler=asha,
            num_samples=section.trials - len(done),
            max_concurrent_trials=section.parallel,
        ),
        run_config=tune.RunConfig(
            storage_path=str(search.folder / "ray"), verbose=0, callbacks=[_keeper(search, metric, tracking)]
        ),
    ).fit()


def _recall(asha: Any, trial: Trial, metric: str) -> None:
    """Tell the scheduler of a trial from before the kill: its rungs are where they were."""
    past = SimpleNamespace(trial_id=trial.name)
    asha.on_trial_add(None, past)
    for epoch, value in enumerate(trial.curve, 1):
        asha.on_trial_result(None, past, {"epoch": epoch, metric: value})


def _distribution(values: Values) -> Any:
    from ray import tune

    if values.choice:
        return tune.choice(values.choice)
    return tune.loguniform(*values.log) if values.log else tune.uniform(*(values.uniform or (0, 1)))


def _trial(config: dict[str, Any], search: Search, metric: str) -> None:
    """What Ray Tune calls in a process of its own."""
    import torch
    import torch.distributed as dist
    from ray import tune

    from gb_ray.tune.trial import epochs

    torch.set_num_threads(1)
    recipe = with_values(search.recipe, config, "trial")
    zero = recipe.train.zero if isinstance(recipe.train.zero, int) else 0
    with tempfile.TemporaryDirectory() as folder:
        dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=0, world_size=1)
        job = Job(recipe, search.corpus, Path(folder), search.key, time.time(), False, zero, {}, search.state)
        for epoch, metrics in enumerate(epochs(job), 1):
            tune.report({"epoch": epoch, metric: metrics[metric]})
        dist.destroy_process_group()


def _keeper(search: Search, metric: str, tracking: Tracking) -> Any:
    from ray.tune import Callback

    parent: list[str] = []

    class Keeper(Callback):
        """Writes each trial down when it has ended."""

        def __init__(self) -> None:
            self.curves: dict[str, list[float]] = {}

        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
            self.curves.setdefault(trial.trial_id, []).append(result[metric])

        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            ended = Trial(trial.trial_id, dict(trial.config), self.curves[trial.trial_id])
            if not parent:
                parent.append(_parent(search, tracking))
            tags = {"mlflow.parentRunId": parent[0]}
            run = tracking.start_run(search.recipe.name, f"trial-{ended.name}", ended.values, tags)
            for epoch, value in enumerate(ended.curve, 1):
                tracking.metrics(run, {f"validation_{metric}": value}, step=epoch)
            tracking.finish(run, "FINISHED")
            search.ledger.add(ended)

    return Keeper()


def _parent(search: Search, tracking: Tracking) -> str:
    """The MLflow run above the trials: one for the whole life of a search."""
    from gb_ray.train.run import read_json, write_json

    file = search.folder / "search.json"
    if not file.is_file():
        run = tracking.start_run(search.recipe.name, search.folder.name, {"trials": search.section.trials}, {})
        write_json(file, {"run_id": run})
        tracking.finish(run, "FINISHED")
    return str(read_json(file)["run_id"])
