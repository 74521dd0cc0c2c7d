"""The verb that looks for the best values of a recipe: tune."""

from __future__ import annotations

from typing import Any

from gb_ray.cli.call import Call, Outcome
from gb_ray.cli.train import as_stopped, through_gate


def tune(call: Call) -> Outcome:
    """gb tune RECIPE: trials of what its `search:` says, the best one registered."""
    from gb_ray.train.trainer import RunStopped
    from gb_ray.tune import search, space

    inputs, path = call.inputs, call.args.recipe
    space.check(inputs.recipe, str(path))
    tracking = call.tracking()
    call.ray()
    try:
        account = search.tune(inputs, path, call.home, tracking, call.progress)
    except RunStopped as stop:
        return as_stopped(call, stop)
    found = account["search"]
    status, told, lines = through_gate(call, tracking, inputs, account)
    return status, told, [*_table(found), *lines, _last(found)]


def _table(found: dict[str, Any]) -> list[str]:
    from gb_ray.tune.board import described

    metric = f"validation {found['metric']}"
    lines = [f"rank  {metric}  steps              values"]
    for rank, trial in enumerate(found["trials"], 1):
        value = "failed" if trial["ended"] == "failed" else f"{trial['value']:.4f}"
        steps = f"{trial['steps']} of {trial['total']}"
        lines.append(f"{rank:4d}  {value:>{len(metric)}}  {steps:17}  {described(trial['values'])}")
    return [*lines, f"cost       {found['cost']:.1%} of the steps of {len(found['trials'])} full trials"]


def _last(found: dict[str, Any]) -> str:
    best = found["trials"][0]
    return (
        f"best       {found['metric']} {best['value']:.4f}; its recipe is {found['best']}; gb finetune {found['best']}"
    )
