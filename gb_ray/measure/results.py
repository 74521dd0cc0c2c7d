"""What a run keeps and tells of its measuring: intervals, slices, calibration, before against after."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gb_ray.files import write_over
from gb_ray.measure import bootstrap
from gb_ray.measure.calibration import calibrate
from gb_ray.measure.paired import compare
from gb_ray.measure.scores import FOLDER, Metrics, Scores, metrics
from gb_ray.measure.slices import compared, slices
from gb_ray.model import package

SLICES = "slices.json"
Split = dict[str, Scores]


def keep(scores: Split, when: str, run: Path, task: str) -> Metrics:
    """Write the scores into a run's folder, as `before` or `after` training. Returns their metrics."""
    for split, one in scores.items():
        one.save(run / FOLDER / f"{when}-{split}.parquet")
    return metrics(scores, task)


def findings(run: Path, after: Split, task: str) -> dict[str, Any]:
    """`intervals` {split: {task: {metric: [low, high]}}}, `slices` and `compared` by split and task, `calibration`.

    `compared` has before as "a" and after as "b", see paired.py; `slices` those of the model after training, which are
    written into the run's folder too; `calibration` is by task, and empty for tasks without probabilities.
    """
    fitted = calibrate(after["validation"], after["test"]) if {"validation", "test"} <= after.keys() else None
    trained = {}
    for split, scores in after.items():
        before = Scores.open(run / FOLDER / f"before-{split}.parquet", scores.task)
        trained[split] = {task: compare(before.statistics, scores.statistics, scores.summary)}
    weak = {split: {task: slices(scores)} for split, scores in after.items()}
    write_over(run / SLICES, json.dumps(weak, indent=1, ensure_ascii=False).encode())
    return {
        "intervals": intervals(after, task),
        "compared": trained,
        "calibration": {task: fitted} if fitted else {},
        "slices": weak,
    }


def intervals(scores: Split, task: str) -> dict[str, dict[str, dict[str, list[float]]]]:
    """[low, high] by split, task and metric."""
    return {
        split: {
            task: {
                name: [round(end, 6) for end in ends]
                for name, ends in bootstrap.intervals(one.statistics, one.summary).items()
            }
        }
        for split, one in scores.items()
    }


def alone(scores: Split, task: str) -> dict[str, Any]:
    """`metrics`, `intervals` and `slices` of one model."""
    weak = {split: {task: slices(one)} for split, one in scores.items()}
    return {"metrics": metrics(scores, task), "intervals": intervals(scores, task), "slices": weak}


def beside(a: Split, b: Split, task: str) -> dict[str, Any]:
    """`compared` and `compared_slices` by split and task, of two models on the same samples."""
    return {
        "compared": {split: {task: compare(a[split].statistics, b[split].statistics, b[split].summary)} for split in b},
        "compared_slices": {split: {task: compared(a[split], b[split])} for split in b},
    }


def tell(model: Path, measured: dict[str, Any]) -> dict[str, Any]:
    """Let the exported model know what was measured of it, and its temperature. Returns its manifest."""
    for task, fitted in measured["calibration"].items():
        package.calibrate(model, task, fitted["temperature"])
    return package.amend(model, **{name: found for name, found in measured.items() if name != "slices"})


def flat(account: dict[str, Any]) -> dict[str, float]:
    """The numbers of an account under the names that a tracking server shows: test_accuracy, test_accuracy_low."""
    found = _named(account["before"], "before_") | _named(account["metrics"], "")
    for place, suffix in enumerate(("_low", "_high")):
        ends = {
            split: {task: {f"{name}{suffix}": pair[place] for name, pair in of.items()} for task, of in tasks.items()}
            for split, tasks in account["intervals"].items()
        }
        found |= _named(ends, "")
    for fitted in account["calibration"].values():
        found |= {"temperature": fitted["temperature"]}
        found |= {"test_ece": fitted["test_ece"]["before"], "test_ece_calibrated": fitted["test_ece"]["after"]}
    return found


def _named(metrics: Metrics, prefix: str) -> dict[str, float]:
    return {
        f"{prefix}{split}_{name}": value
        for split, tasks in metrics.items()
        for values in tasks.values()
        for name, value in values.items()
    }
