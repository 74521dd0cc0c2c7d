"""What a run keeps and tells of its measuring: intervals, slices, calibration, before against after."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gb_ray.files import write_over
from gb_ray.measure import bootstrap
from gb_ray.measure.calibration import calibrate, told
from gb_ray.measure.paired import compare
from gb_ray.measure.scores import FOLDER, Found, Metrics, Scores, joined, metrics
from gb_ray.measure.slices import compared, slices
from gb_ray.model import package

SLICES = "slices.json"


def path_of(run: Path, when: str, task: str, split: str) -> Path:
    """Where a run keeps the scores of one split."""
    return run / FOLDER / f"{when}-{task}-{split}.parquet"


def keep(found: Found, when: str, run: Path) -> Metrics:
    """Write the scores into a run's folder, as `before` or `after` training. Returns their metrics."""
    for split, task, one in _each(found):
        one.save(path_of(run, when, task, split))
    return metrics(found)


def calibrated(model: Path, found: Found) -> tuple[Found, dict[str, Any]]:
    """What a model that has just been trained answers once it has its temperatures, and `calibration` by task.

    The temperatures that suit what was `found` of it are written into its directory. Tasks without probabilities have
    none.
    """
    fitted = _calibration(found)
    for task, one in fitted.items():
        package.calibrate(model, task, one["temperature"])
    heat = {task: one["temperature"] for task, one in fitted.items()}
    return _map(found, lambda split, task, one: one.cooled(heat.get(task, 1.0))), fitted


def findings(run: Path, after: Found) -> dict[str, Any]:
    """`intervals` {split: {task: {metric: [low, high]}}}; `slices`, `compared` and `pace` by split and task.

    `compared` has before as "a" and after as "b", see paired.py; `slices` are those of the model after training, which
    are written into the run's folder too.
    """
    weak = _map(after, lambda split, task, one: slices(one))
    write_over(run / SLICES, json.dumps(weak, indent=1, ensure_ascii=False).encode())

    def against_before(split: str, task: str, one: Scores) -> Any:
        before = Scores.open(path_of(run, "before", task, split), one.task)
        return compare(before.statistics, one.statistics, one.summary)

    return {
        "intervals": intervals(after),
        "compared": _map(after, against_before),
        "slices": weak,
        "pace": paces(after),
    }


def intervals(found: Found) -> dict[str, dict[str, dict[str, list[float]]]]:
    """[low, high] by split, task and metric."""
    return _map(
        found,
        lambda split, task, one: {
            name: [round(end, 6) for end in ends]
            for name, ends in bootstrap.intervals(one.statistics, one.summary).items()
        },
    )


def paces(found: Found) -> dict[str, dict[str, Any]]:
    """How fast and for how much energy it was computed, by split and task. Another time, other numbers."""
    return _map(found, lambda split, task, one: one.pace.account() if one.pace else None)


def alone(found: Found) -> dict[str, Any]:
    """`metrics`, `intervals`, `slices`, `pace` and `calibration` of one model, by split and task."""
    return {
        "metrics": metrics(found),
        "intervals": intervals(found),
        "slices": _map(found, lambda split, task, one: slices(one)),
        "pace": paces(found),
        "calibration": _map(found, lambda split, task, one: told(one)),
    }


def beside(a: Found, b: Found) -> dict[str, Any]:
    """Of two models on the same samples `compared` and `compared_slices`, and `against_pace` and `against_calibration`
    of a, by split and task.

    Both are on the scale of b: what one calls a standard deviation may be another number to the other.
    """
    a = _map(a, lambda split, task, one: one.restated(b[split][task].task))
    return {
        "against_pace": paces(a),
        "against_calibration": _map(a, lambda split, task, one: told(one)),
        "compared": _map(b, lambda split, task, one: compare(a[split][task].statistics, one.statistics, one.summary)),
        "compared_slices": _map(b, lambda split, task, one: compared(a[split][task], one)),
    }


def tell(model: Path, measured: dict[str, Any]) -> dict[str, Any]:
    """Let the exported model know what was measured of it. Returns its manifest."""
    return package.amend(model, **{name: found for name, found in measured.items() if name not in ("slices", "pace")})


def flat(account: dict[str, Any]) -> dict[str, float]:
    """The numbers of an account under the names that a tracking server shows: test_accuracy, test_accuracy_low.

    Of several tasks, TASK. stands before the metric.
    """
    found = _named(account["before"], "before_") | _named(account["metrics"], "")
    for place, suffix in enumerate(("_low", "_high")):
        ends = {
            split: {task: {f"{name}{suffix}": pair[place] for name, pair in of.items()} for task, of in tasks.items()}
            for split, tasks in account["intervals"].items()
        }
        found |= _named(ends, "")
    return found | {f"test_{name}": value for name, value in joined(_fitted(account)).items()}


def _fitted(account: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Of each task, those without probabilities too: what `joined` calls a metric depends on how many there are."""
    found: dict[str, dict[str, float]] = {task: {} for tasks in account["metrics"].values() for task in tasks}
    for task, one in account["calibration"].items():
        error = one["test_ece"]
        found[task] = {
            "temperature": one["temperature"],
            "ece": error["before"],
            "ece_calibrated": error["after"],
        }
    return found or {"": {}}


def _calibration(after: Found) -> dict[str, Any]:
    both = [after[split] for split in ("validation", "test") if split in after]
    if len(both) < 2:
        return {}
    fitted = {task: calibrate(both[0][task], both[1][task]) for task in both[1] if task in both[0]}
    return {task: one for task, one in fitted.items() if one}


def _each(found: Found) -> Iterator[tuple[str, str, Scores]]:
    return ((split, task, one) for split, tasks in found.items() for task, one in tasks.items())


def _map(found: Found, change: Callable[[str, str, Scores], Any]) -> dict[str, dict[str, Any]]:
    """{split: {task: what `change` makes of its scores}}."""
    return {split: {task: change(split, task, one) for task, one in tasks.items()} for split, tasks in found.items()}


def _named(metrics: Metrics, prefix: str) -> dict[str, float]:
    return {
        f"{prefix}{split}_{name}": value for split, tasks in metrics.items() for name, value in joined(tasks).items()
    }
