"""The verb that looks for the best values of a recipe: tune."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gb_ray.cli.call import DONE, Call, Outcome
from gb_ray.cli.train import as_stopped
from gb_ray.recipe import load


def tune(call: Call) -> Outcome:
    """gb tune RECIPE: trials of what `search:` says, then the best one trained and registered."""
    from gb_ray.finetune import check, finetune
    from gb_ray.train.trainer import RunStopped, require_workers
    from gb_ray.tune import search, space

    path = call.args.recipe
    inputs = check(load(path, call.args.overrides), path)
    section = space.check(inputs.recipe, str(path))
    tracking = call.tracking()
    call.ray()
    require_workers(inputs.recipe)
    found = search.tune(inputs, section, path, call.home, tracking, call.progress)
    best = Path(found["best"])
    try:
        account = finetune(check(load(best), best), call.home, tracking, call.progress, reuse=True)
    except RunStopped as stop:
        return as_stopped(call, stop)
    return DONE, {"tune": found, **account}, [*_table(found), *_end(found, account)]


def _table(found: dict[str, Any]) -> list[str]:
    metric = found["metric"]
    lines = [f"rank  epochs  validation {metric:12s}  values"]
    for rank, trial in enumerate(found["trials"], 1):
        values = ", ".join(
            f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in trial["values"].items()
        )
        lines.append(f"{rank:4d}  {trial['epochs']:6d}  {trial[metric]:23.4f}  {values}")
    return lines


def _end(found: dict[str, Any], account: dict[str, Any]) -> list[str]:
    model = account["model"]
    test = ", ".join(
        f"{k} {v:.4f}" for values in account["metrics"].get("test", {}).values() for k, v in values.items()
    )
    return [
        f"cost       {found['cost']:.1%} of {len(found['trials'])} full trials",
        f"best       {found['best']}",
        f"model      {model['uri']}  test: {test}",
        f"next       gb promote {model['name']} --version {model['version']}",
    ]
