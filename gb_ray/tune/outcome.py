"""What becomes of a search's trials: the best one's recipe and model, a chart, an account."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gb_ray import finetune
from gb_ray.inputs import Corpora, check
from gb_ray.model import package
from gb_ray.progress import Progress
from gb_ray.recipe import load
from gb_ray.registry.tracking import Tracking
from gb_ray.train.run import Run, adopt, find
from gb_ray.tune import space
from gb_ray.tune.chart import chart
from gb_ray.tune.ledger import Trial, cost
from gb_ray.tune.trial import Search


@dataclass(frozen=True)
class Place:
    """Where a search works. `path` is the recipe's file."""

    path: Path
    home: Path
    corpora: Corpora
    tracking: Tracking
    progress: Progress


def write(search: Search, run: Run, trials: list[Trial], place: Place) -> Path:
    """Write the best trial's recipe and the chart into the search's folder, and show them in MLflow.

    `trials` are the best first. Returns the recipe's file.
    """
    best, tracking, run_id = trials[0], place.tracking, run.state["run_id"]
    recipe = space.with_values(search.recipe, best.values, "the best trial")
    content = recipe.model_dump(mode="json", exclude={"search"}, exclude_unset=True)
    policy = place.path.parent / search.recipe.registry.policy
    content["registry"] = content.get("registry", {}) | {"policy": str(policy.absolute())}
    file, picture = run.path / "best.yaml", run.path / "trials.svg"
    value = best.curve[-1].metrics[search.metric]
    head = f"# Trial {best.number} of {run.path.name}, the best of {len(trials)}: {search.metric} {value:.4f}\n"
    file.write_text(head + yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
    picture.write_text(chart(trials, search.section, search.metric), encoding="utf-8")
    for one in (file, picture):
        tracking.artifact(run_id, one)
    tracking.artifact(run.state["sent"][best.name]["run_id"], file)
    known = {f"best_validation_{name}": value for name, value in best.curve[-1].metrics.items()}
    tracking.metrics(run_id, known | {"cost": cost(trials)}, step=len(trials))
    return file


def register(search: Search, run: Run, best: Trial, file: Path, place: Place) -> dict[str, Any]:
    """The best trial becomes a run like any other, which `finetune` measures and registers. Returns its account.

    Where a run of its recipe is there already, that is the one: its weights are the same. Where its model was removed
    since, it is trained anew. Of the other trials curves and journals stay.
    """
    inputs = check(load(file), file)
    key, name, made = inputs.key(place.corpora), inputs.recipe.name, search.ledger.run(best.name)
    there = any(find(place.home, name, key, finished) for finished in (True, False))
    if not there and (made / "model").is_dir():
        run_id = run.state["sent"][best.name]["run_id"]
        package.amend(made / "model", **finetune.manifest(inputs, place.corpora, run_id))
        adopt(place.home, name, key, made, run_id=run_id, page=place.tracking.page(run_id))
    for trial in search.ledger.trials():
        for large in ("model", "checkpoints"):
            shutil.rmtree(search.ledger.run(trial.name) / large, ignore_errors=True)
    return finetune.finetune(inputs, place.home, place.tracking, place.progress, reuse=True)


def account(search: Search, run: Run, trials: list[Trial], file: Path) -> dict[str, Any]:
    """What `--json` says of a search."""
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
        "cost": round(cost(trials), 4),
        "trials": told,
        "best": str(file),
        "chart": str(run.path / "trials.svg"),
    }
