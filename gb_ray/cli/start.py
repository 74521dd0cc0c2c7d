"""Verbs for a start: doctor, schema, quickstart."""

from __future__ import annotations

import json

from gb_ray.cli.call import DONE, FAILED, REFUSED, Call, Outcome
from gb_ray.cli.train import as_stopped
from gb_ray.recipe import Recipe


def doctor(call: Call) -> Outcome:
    """gb doctor: what is wrong on this machine, and how to mend it."""
    from gb_ray.doctor import examine

    findings = examine(call.home, call.tracking_uri)
    marks = {True: "ok  ", False: "BAD "}
    lines = [f"{marks[f.ok]} {f.what}: {f.found}{'' if f.ok else f'. {f.mend}'}" for f in findings]
    ok = all(finding.ok for finding in findings)
    return DONE if ok else FAILED, {"ok": ok, "findings": [f.model_dump() for f in findings]}, lines


def schema(call: Call) -> Outcome:
    """gb schema: the recipe's JSON schema."""
    content = Recipe.model_json_schema()
    return DONE, content, [json.dumps(content, indent=1)]


def quickstart(call: Call) -> Outcome:
    """gb quickstart: the life of one model, from real texts to an endpoint."""
    from gb_ray.quickstart import quickstart, summary
    from gb_ray.train.trainer import RunStopped

    args, inputs = call.args, call.inputs
    args.ray = args.ray or "local"
    tracking = call.tracking()
    call.ray()
    try:
        account = quickstart(inputs, call.home, tracking, call.tracking_uri, args.keep, call.progress)
    except RunStopped as stop:
        return as_stopped(call, stop)
    status = DONE if account["gate"]["passed"] else REFUSED
    return status, account, summary(account, inputs.recipe.name, args.recipe, call.home)
