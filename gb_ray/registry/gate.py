"""The gate: whether a candidate may become the champion. It only compares numbers."""

from __future__ import annotations

import math

from pydantic import BaseModel, ConfigDict

from gb_ray.registry.section import Policy
from gb_ray.tasks.base import sign


class Check(BaseModel):
    """One comparison. `value` and `limit` are None when there is no finite number to show."""

    model_config = ConfigDict(frozen=True)

    name: str
    passed: bool
    value: float | None
    limit: float | None
    why: str


class Gate(BaseModel):
    """The verdict: passed when there is a check and every check passed."""

    model_config = ConfigDict(frozen=True)

    passed: bool
    checks: list[Check]


def judge(
    policy: Policy, candidate: dict[str, float], champion: dict[str, float] | None, several: bool = False
) -> Gate:
    """Hold the candidate's metrics against the policy and the champion's (None: there is no champion yet).

    Both sets of metrics must come from the same split; of `several` tasks their names are TASK.METRIC. A metric that is
    missing or not a number fails its check, and so does a policy that checks nothing.
    """
    checks = [_limited(f"floor {m}", m, candidate, floor, "the floor", 1) for m, floor in policy.floors.items()]
    checks += [_limited(f"ceiling {m}", m, candidate, most, "the ceiling", -1) for m, most in policy.ceilings.items()]
    checks += [
        _not_worse(metric, slack, candidate, champion, sign(metric, several))
        for metric, slack in policy.not_worse.items()
    ]
    if not checks:
        why = "the policy has no floors, ceilings or not_worse: a gate that checks nothing lets nothing pass"
        checks = [Check(name="policy", passed=False, value=None, limit=None, why=why)]
    return Gate(passed=all(check.passed for check in checks), checks=checks)


def _not_worse(
    metric: str, slack: float, candidate: dict[str, float], champion: dict[str, float] | None, better: int
) -> Check:
    name = f"not_worse {metric}"
    if champion is None:
        value, fault = _number(metric, candidate, "candidate")
        why = fault or "there is no champion to be worse than"
        return Check(name=name, passed=fault is None, value=value, limit=None, why=why)
    best, fault = _number(metric, champion, "champion")
    if best is None:
        return Check(name=name, passed=False, value=None, limit=None, why=f"cannot compare: {fault}")
    meaning = f"the champion's {best:g} {'less' if better > 0 else 'and'} {slack:g}"
    return _limited(name, metric, candidate, best - better * slack, meaning, better)


def _limited(name: str, metric: str, candidate: dict[str, float], limit: float, meaning: str, better: int) -> Check:
    """`better`: 1 when the value must be at least the limit, -1 when at most."""
    shown = limit if math.isfinite(limit) else None
    value, fault = _number(metric, candidate, "candidate")
    if value is None:
        return Check(name=name, passed=False, value=None, limit=shown, why=str(fault))
    passed = better * value >= better * limit
    on_this_side, on_that = ("at least", "below") if better > 0 else ("at most", "above")
    why = f"{value:g} is {on_this_side if passed else on_that} {limit:g}, {meaning}"
    return Check(name=name, passed=passed, value=value, limit=shown, why=why)


def _number(metric: str, metrics: dict[str, float], whose: str) -> tuple[float | None, str | None]:
    """The finite value of a metric, or None and why there is none."""
    if metric not in metrics:
        return None, f"the {whose} has no metric {metric}; it has: {', '.join(sorted(metrics)) or 'none'}"
    if not math.isfinite(metrics[metric]):
        return None, f"the {whose}'s {metric} is {metrics[metric]}"
    return metrics[metric], None
