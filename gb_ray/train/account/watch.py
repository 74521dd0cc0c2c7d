"""What a run does now: one object for programs, a screen for a person."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from gb_ray.train import skips
from gb_ray.train.account import notes, runs
from gb_ray.train.account.beat import Beat, beats
from gb_ray.train.account.goodput import goodput
from gb_ray.train.account.journal import newest
from gb_ray.train.checkpoints import checkpoint
from gb_ray.train.run import Run, read_json

RECENT = 50
"""Steps over which rates are taken."""
NOTES = 3
GB = 1e9
SHOWN = ("loss", "lr", "grad_norm", "padding", "epoch", "mfu", "mfu_attention")


def present(path: Path) -> dict[str, Any]:
    """The present state of a run; times in seconds, memory in bytes.

    Keys beside those of `runs.summary`: `metrics` of the last step, tokens_per_s (over the last steps, in wall time),
    left_s (None when it cannot be known), workers, checkpoint (the newest one's folder, or None), left_out, notes (the
    last lines that workers left), spent (seconds by category).
    """
    run = Run(path)
    entries = newest(run.journal, RECENT)
    metrics = entries[-1]["metrics"] if entries else {}
    found = runs.summary(run)
    running = found["state"] == "running" and found["phase"] == "train"
    pace = _seconds_a_step(entries)
    left = (found["total"] or 0) - found["step"]
    now = time.time()
    return found | {
        "metrics": {name: metrics[name] for name in SHOWN if name in metrics},
        "tokens_per_s": _rate(entries),
        "left_s": round(left * pace, 1) if running and pace else None,
        "workers": [_worker(beat, now) for beat in beats(path)] if running else [],
        "checkpoint": _newest_checkpoint(path),
        "left_out": skips.account(path),
        "notes": [note["text"] for note in notes.all_of(path)[-NOTES:]],
        "spent": goodput(path),
        "why": run.state.get("why"),
        "model": _model(run),
    }


def lines(now: dict[str, Any]) -> list[str]:
    """The present state for a person who looks at a screen."""
    head = f"{now['name']}  {now['state']}" + (f" ({now['phase']})" if now["state"] == "running" else "")
    found = [head, f"step       {now['step']}/{now['total'] or '?'}{_left(now)}"]
    if now["metrics"]:
        found += [f"loss       {_metrics(now)}", f"speed      {_speed(now)}"]
    found += [f"worker {w['rank']:<3d} {_place(w)}" for w in now["workers"]]
    spent = ", ".join(f"{category} {seconds:.0f}" for category, seconds in now["spent"].items() if seconds >= 0.5)
    found.append(f"goodput    {now['goodput']:.0%} of {sum(now['spent'].values()):.0f} s: {spent}")
    if now["checkpoint"]:
        found.append(f"checkpoint {now['checkpoint']}")
    if now["left_out"]["steps"]:
        left_out = now["left_out"]
        found.append(f"left out   {left_out['samples']} samples of steps {left_out['steps']}: {left_out['file']}")
    found += [f"note       {text}" for text in now["notes"]]
    if now["model"]:
        found.append(f"model      {now['model']}")
    return found


def line(now: dict[str, Any]) -> str:
    """The same in one line, for a log."""
    if now["state"] == "running" and now["phase"] != "train":
        return f"{now['name']}: {now['phase']} ..."
    parts = [f"{now['name']}: {now['state']}, step {now['step']}/{now['total'] or '?'}{_left(now)}"]
    if now["metrics"]:
        parts += [f"loss {now['metrics']['loss']:.4f}", _speed(now)]
    memory = max((w["gpu_memory"] or w["memory"] for w in now["workers"]), default=0)
    if memory:
        parts.append(f"memory {memory / GB:.2f} GB a worker")
    return ", ".join([*parts, f"goodput {now['goodput']:.0%}"])


def _left(now: dict[str, Any]) -> str:
    return "" if now["left_s"] is None else f", {now['left_s']:.0f} s left"


def _metrics(now: dict[str, Any]) -> str:
    metrics = now["metrics"]
    return f"{metrics['loss']:.4f}, rate {metrics['lr']:.3g}, norm of the gradient {metrics['grad_norm']:.3g}"


def _speed(now: dict[str, Any]) -> str:
    metrics = now["metrics"]
    text = f"{now['tokens_per_s']:.0f} tokens/s, padding {metrics['padding']:.1%}"
    if "mfu" in metrics:
        text += f", model FLOPs {metrics['mfu']:.1%} of peak ({metrics['mfu_attention']:.1%} with attention)"
    return text


def _place(worker: dict[str, Any]) -> str:
    gpu = f", GPU {worker['gpu_memory'] / GB:.2f} GB" if worker["gpu_memory"] else ""
    return (
        f"{worker['phase']} of step {worker['step']} for {worker['for_s']:.1f} s, "
        f"memory {worker['memory'] / GB:.2f} GB (at most {worker['most_memory'] / GB:.2f}){gpu}, "
        f"process {worker['pid']} on {worker['host']}"
    )


def _worker(beat: Beat, now: float) -> dict[str, Any]:
    said = beat._asdict()
    shown = ("rank", "pid", "host", "phase", "step", "memory", "most_memory", "gpu_memory", "where", "waits")
    times = {"for_s": round(now - beat.since, 2), "seen_s": round(now - beat.alive, 2)}
    return {name: said[name] for name in shown} | times


def _seconds_a_step(entries: list[dict[str, Any]]) -> float | None:
    """Over entries of one attempt: after a restart steps come again."""
    first = next((i for i in range(len(entries) - 1, 0, -1) if entries[i]["step"] <= entries[i - 1]["step"]), 0)
    same = entries[first:]
    if len(same) < 2:
        return None
    return float((same[-1]["time"] - same[0]["time"]) / (same[-1]["step"] - same[0]["step"]))


def _rate(entries: list[dict[str, Any]]) -> float | None:
    """Tokens a second while steps were computed, over the recent ones."""
    seconds = [entry["metrics"]["data_s"] + entry["metrics"]["compute_s"] for entry in entries]
    tokens = sum(entry["metrics"]["tokens_per_s"] * spent for entry, spent in zip(entries, seconds, strict=True))
    return round(tokens / sum(seconds), 1) if entries else None


def _newest_checkpoint(run: Path) -> str | None:
    """Not verified: that would read all of it."""
    steps = checkpoint.reached(run / "checkpoints")
    return str(checkpoint.place(run / "checkpoints", steps)) if steps else None


def _model(run: Run) -> str | None:
    account = read_json(run.path / "run.json").get("account") or {}
    return account["model"]["uri"] if "model" in account else None
