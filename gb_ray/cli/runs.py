"""Verbs on runs: runs, watch, save, stop, checkpoints, report. None of them needs Ray."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Literal

from gb_ray.cli.call import DONE, Call, Outcome
from gb_ray.section import UserError

LOOK_EVERY_S = 0.2
SCREEN_EVERY_S = 1.0
LINE_EVERY_S = 5.0


def runs(call: Call) -> Outcome:
    """gb runs: all runs of the home and what they do."""
    from gb_ray.train.account import runs

    entries = [runs.summary(run) for run in runs.all_of(call.home)]
    return DONE, {"runs": entries}, runs.lines(call.home, entries)


def watch(call: Call) -> Outcome:
    """gb watch RUN: what a run does, until it ends; with --json what it does now."""
    from gb_ray.train.account import watch

    path = _run(call).path
    if call.args.json:
        return DONE, watch.present(path), []
    if call.out.isatty():
        _screen(call, path)
    else:
        _lines(call, path)
    return DONE, None, []


def save(call: Call) -> Outcome:
    """gb save RUN: a checkpoint at its next step."""
    run = _running(call)
    checkpoint = _asked(call, run, "save")
    return DONE, {"run": run.path.name, "checkpoint": str(checkpoint)}, [f"checkpoint {checkpoint}"]


def stop(call: Call) -> Outcome:
    """gb stop RUN: a checkpoint at its next step, then its end."""
    from gb_ray.train.account import runs

    run = _running(call)
    checkpoint = _asked(call, run, "stop")
    while runs.is_held(run.path):
        time.sleep(LOOK_EVERY_S)
    account = {"run": run.path.name, "state": runs.state(run), "checkpoint": str(checkpoint)}
    how = "gb finetune with the same recipe goes on from there"
    return DONE, account, [f"checkpoint {checkpoint}", f"{run.path.name} is {account['state']}; {how}"]


def checkpoints(call: Call) -> Outcome:
    """gb checkpoints RUN: its checkpoints, each verified."""
    from gb_ray.train.checkpoints import checkpoint

    run = _run(call)
    account = checkpoint.account(run.path)
    return DONE, {"run": run.path.name, "checkpoints": account}, checkpoint.lines(account)


def report(call: Call) -> Outcome:
    """gb report RUN: one page about it, to look at in a browser."""
    from gb_ray.report import report

    path = report.write(_run(call), call.args.out)
    return DONE, {"report": str(path)}, [str(path)]


def _run(call: Call) -> Any:
    from gb_ray.train.account import runs

    return runs.named(call.home, call.args.run)


def _running(call: Call) -> Any:
    from gb_ray.train.account import runs

    run = _run(call)
    state = runs.state(run)
    if state != "running":
        raise UserError(f"{run.path.name} is not running, it is {state}; gb runs shows those that are")
    return run


def _asked(call: Call, run: Any, what: Literal["save", "stop"]) -> Path:
    """Leave the request and wait until it is met. Returns the committed checkpoint; raises Unmet."""
    from gb_ray.train import orders
    from gb_ray.train.account import notes
    from gb_ray.train.account.runs import is_held
    from gb_ray.train.checkpoints.checkpoint import place
    from gb_ray.train.checkpoints.sealed import MANIFEST
    from gb_ray.train.run import read_json

    given_up = notes.Notes(run.path)
    request = orders.ask(run.path, what)
    try:
        while True:
            # Looked at before the checkpoint: what was committed last may be it.
            held = is_held(run.path)
            steps = read_json(request).get("steps") if request.is_file() else None
            if steps and (place(run.path / "checkpoints", steps) / MANIFEST).is_file():
                return place(run.path / "checkpoints", steps)
            for note in given_up.new():
                if note.get("gave_up") == steps:
                    raise Unmet(note["text"])
            if not held:
                raise Unmet(f"{run.path.name} ended before it saw the request; it is {read_json(_file(run))['status']}")
            time.sleep(LOOK_EVERY_S)
    finally:
        request.unlink(missing_ok=True)


class Unmet(Exception):
    """What was asked of a run did not come about."""


def _file(run: Any) -> Path:
    return Path(run.path / "run.json")


def _screen(call: Call, path: Path) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from gb_ray.train.account import watch

    with Live(console=Console(file=call.out), auto_refresh=False) as live:
        while True:
            now = watch.present(path)
            live.update(Text("\n".join(watch.lines(now))), refresh=True)
            if now["state"] != "running":
                return
            time.sleep(SCREEN_EVERY_S)


def _lines(call: Call, path: Path) -> None:
    from gb_ray.train.account import runs, watch
    from gb_ray.train.run import Run

    while runs.state(Run(path)) == "running":
        print(watch.line(watch.present(path)), file=call.out, flush=True)
        until = time.monotonic() + LINE_EVERY_S
        while time.monotonic() < until and runs.state(Run(path)) == "running":
            time.sleep(LOOK_EVERY_S)
    print("\n".join(watch.lines(watch.present(path))), file=call.out, flush=True)
