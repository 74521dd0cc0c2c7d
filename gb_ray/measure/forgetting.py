"""What a run made a model forget: the test split of the corpus it knew before, measured before and after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gb_ray.measure import results
from gb_ray.measure.paired import compare
from gb_ray.measure.scores import Found, Scores

SPLIT = "test"
BEFORE, AFTER = "before-old", "after-old"
Forgotten = dict[str, dict[str, Any]]


def forgetting(run: Path, after: Found) -> Forgotten:
    """{metric: before, after, difference, interval, p, worse}; empty where the old corpora have no test split.

    Of several tasks a metric is called TASK.METRIC, as a gate does.
    The scores before are those that the run's folder has kept; those after are written beside them. `difference` is
    after less before, `interval` and `p` are of the same samples (see paired.py), and `worse` says that less is known
    now, beyond luck.
    """
    results.keep(after, AFTER, run)
    found: Forgotten = {}
    tasks = after.get(SPLIT, {})
    for task, now in tasks.items():
        was = Scores.open(results.path_of(run, BEFORE, task, SPLIT), now.task)
        for name, one in compare(was.statistics, now.statistics, now.summary).items():
            told = {"before": one["a"], "after": one["b"], "worse": one["better"] == "a"}
            told |= {key: one[key] for key in ("difference", "interval", "p")}
            found[f"{task}.{name}" if len(tasks) > 1 else name] = told
    return found


def flat(account: dict[str, Any]) -> dict[str, float]:
    """The numbers under the names that a tracking server shows: old_test_accuracy_before, _after, _difference."""
    return {
        f"old_{SPLIT}_{name}_{key}": one[key]
        for name, one in (account.get("forgetting") or {}).items()
        for key in ("before", "after", "difference")
    }
