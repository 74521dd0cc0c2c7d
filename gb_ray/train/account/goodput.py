"""Where the seconds of a run went, from the first start to the last sign of life: each is in one category.

    start       until the workers of a life's first attempt are at their first step, but for what is measured before
    data        laying steps out
    compute     gradients and updates that count
    checkpoint  saving, as far as training waited for it
    export      writing the model, and registering it
    evaluate    measuring: the driver's before and after, the workers' of the validation split
    restart     from the last word of an attempt that died to the start of the next
    lost        data and compute of steps that a later attempt did again
    away        no driver was there, and nobody had asked for that
    paused      nobody trained, as asked
    other       what the loop does between these

The useful ones are data and compute:
https://cloud.google.com/blog/products/ai-machine-learning/goodput-metric-as-measure-of-ml-productivity
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gb_ray.train.account import life
from gb_ray.train.run import read_json

USEFUL = ("data", "compute")
CATEGORIES = (
    *("start", "data", "compute", "checkpoint", "export", "evaluate"),
    *("restart", "lost", "away", "paused", "other"),
)
_OF_PHASE = {"prepare": "start", "before": "evaluate", "after": "evaluate", "register": "export"}
Seconds = dict[str, float]


def goodput(run: Path) -> Seconds:
    """Seconds of the run in this directory by category. Their sum is the time from its first start to its last sign."""
    attempts = [read_json(path) for path in sorted((run / "attempts").glob("*.json"))]
    shares = [_again(attempt, attempts[number + 1 :]) for number, attempt in enumerate(attempts)]
    lives = [read_json(path) for path in sorted((run / life.FOLDER).glob("*.json"))]
    if not lives and attempts:  # started by torchrun, which writes no life
        lives = [{"began": attempts[0]["began"], "seen": 0.0, "ended": None}]
        lives[0]["phases"] = [["train", attempts[0]["began"], None]]
    total: Seconds = dict.fromkeys(CATEGORIES, 0.0)
    for number, one in enumerate(lives):
        until = lives[number + 1]["began"] if number + 1 < len(lives) else float("inf")
        mine = [(a, share) for a, share in zip(attempts, shares, strict=True) if one["began"] <= a["began"] < until]
        end = _add_life(total, one, mine, until)
        if until < float("inf"):
            total["paused" if one["ended"] in ("stopped", "finished") else "away"] += until - end
    return {category: round(spent, 2) for category, spent in total.items()}


def share(spent: Seconds) -> float:
    """The useful part of all seconds but those of a pause that was asked for."""
    everything = sum(spent.values()) - spent["paused"]
    return sum(spent[category] for category in USEFUL) / everything if everything > 0 else 0.0


def _add_life(total: Seconds, one: dict[str, Any], attempts: list[tuple[dict[str, Any], float]], until: float) -> float:
    """Count one driver's time and return when it ended."""
    mark, gap = one["began"], "start"
    seen = min(until, max([one["seen"], *(_end(attempt) for attempt, _ in attempts)]))
    for phase, began, ended in one["phases"]:
        total[gap] += began - mark
        gap = "other"
        mark = seen if ended is None else ended
        if phase == "train":
            _add_training(total, began, mark, attempts)
        else:
            total[_OF_PHASE[phase]] += mark - began
    total["other"] += seen - mark
    return seen


def _add_training(total: Seconds, began: float, ended: float, attempts: list[tuple[dict[str, Any], float]]) -> None:
    mark, gap = began, "start"
    for attempt, again in attempts:
        total[gap] += max(0.0, attempt["began"] - mark)
        for category, spent in attempt["seconds"].items():
            lost = spent * again if category in USEFUL else 0.0
            total[category] += spent - lost
            total["lost"] += lost
        mark, gap = _end(attempt), "export" if attempt["ended"] else "restart"
    total[gap] += max(0.0, ended - mark)


def _end(attempt: dict[str, Any]) -> float:
    return float(attempt["began"] + sum(attempt["seconds"].values()))


def _again(attempt: dict[str, Any], later: list[dict[str, Any]]) -> float:
    """The share of an attempt's steps that count no more, because a later attempt started before them."""
    if attempt["first"] is None:
        return 0.0
    end = attempt["last"] + 1
    restart = min((other["first"] for other in later if other["first"] is not None), default=end)
    return float(max(0, end - max(restart, attempt["first"])) / (end - attempt["first"]))
