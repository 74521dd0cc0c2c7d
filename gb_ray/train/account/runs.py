"""The runs of a home: which there are, what they do, and whether they really do it."""

from __future__ import annotations

import fcntl
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from gb_ray.section import UserError
from gb_ray.train.account import life
from gb_ray.train.account.beat import beats
from gb_ray.train.account.goodput import goodput, share
from gb_ray.train.account.journal import newest
from gb_ray.train.run import Run, read_json


def named(home: Path, word: str) -> Run:
    """The run with this name, at this path, or whose name alone begins so. Raises UserError, saying what there is."""
    path = Path(word).expanduser()
    if (path / "run.json").is_file():
        return Run(path.absolute())
    runs = all_of(home)
    found = [run for run in runs if run.path.name == word] or [run for run in runs if run.path.name.startswith(word)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"{word}: several runs begin so: {', '.join(run.path.name for run in found)}")
    there = ", ".join(run.path.name for run in runs) or "none; gb finetune RECIPE makes one"
    raise UserError(f"{word}: no run; expected a path, or the name, or the beginning of the name, of one of: {there}")


def all_of(home: Path) -> list[Run]:
    """Every run of the home, the one that began last first."""
    folders = sorted((home / "runs").glob("*/run.json"), key=lambda file: _began(file.parent), reverse=True)
    return [Run(file.parent) for file in folders]


def state(run: Run) -> str:
    """running, finished, stopped, failed; or killed: it says that it runs, but no process holds its lock."""
    said = str(read_json(run.path / "run.json")["status"])
    return "killed" if said == "running" and not is_held(run.path) else said


def is_held(run: Path) -> bool:
    """Whether a driver is on this run now."""
    with suppress(FileNotFoundError), (run / "lock").open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def summary(run: Run) -> dict[str, Any]:
    """One run in short: what `gb runs` shows of it."""
    last = next(iter(newest(run.journal, 1)), None)
    spent = goodput(run.path)
    return {
        "name": run.path.name,
        "path": str(run.path),
        "state": state(run),
        "phase": phase(run.path),
        "step": last["step"] + 1 if last else 0,
        "total": run.state.get("total"),
        "loss": last["metrics"]["loss"] if last else None,
        "goodput": round(share(spent), 4),
        "seen": seen(run),
        "run_id": run.state.get("run_id"),
        "attempts": len(list((run.path / "attempts").glob("*.json"))),
    }


def phase(run: Path) -> str | None:
    """What its last driver does, or did last: prepare, before, train, after, register."""
    phases = (_lives(run) or [{"phases": []}])[-1]["phases"]
    return phases[-1][0] if phases else None


def seen(run: Run) -> float:
    """The last sign of life of its driver or a worker, in seconds since 1970."""
    signs = [beat.alive for beat in beats(run.path)] + [one["seen"] for one in _lives(run.path)]
    return max([*signs, (run.path / "run.json").stat().st_mtime])


def lines(home: Path, entries: list[dict[str, Any]]) -> list[str]:
    """`summary` of all of them for a person."""
    if not entries:
        return [f"no runs in {home / 'runs'} yet; gb finetune RECIPE makes one"]
    head = ("run", "state", "step", "loss", "goodput", "last sign", "mlflow run")
    table = [head] + [_row(entry) for entry in entries]
    widths = [max(len(row[column]) for row in table) for column in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]


def ago(moment: float) -> str:
    """How long ago that was, in its largest unit."""
    passed = max(0.0, time.time() - moment)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if passed >= 2 * length:
            return f"{passed / length:.0f} {unit} ago"
    return f"{passed:.0f} s ago"


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    state = entry["state"]
    if state == "running" and entry["phase"] not in (None, "train"):
        state = f"running ({entry['phase']})"
    loss = "" if entry["loss"] is None else f"{entry['loss']:.4f}"
    steps = f"{entry['step']}/{entry['total'] or '?'}"
    return entry["name"], state, steps, loss, f"{entry['goodput']:.0%}", ago(entry["seen"]), entry["run_id"] or ""


def _lives(run: Path) -> list[dict[str, Any]]:
    return [read_json(path) for path in sorted((run / life.FOLDER).glob("*.json"))]


def _began(run: Path) -> float:
    lives = _lives(run)
    return float(lives[-1]["began"]) if lives else (run / "run.json").stat().st_mtime
