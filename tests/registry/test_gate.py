import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_ray.registry.gate import judge
from gb_ray.registry.section import Policy

POLICY = Policy(floors={"accuracy": 0.8}, not_worse={"f1": 0.01})


def test_passes_at_the_limits():
    gate = judge(POLICY, {"accuracy": 0.8, "f1": 0.5}, {"f1": 0.51})
    assert gate.passed
    assert [check.name for check in gate.checks] == ["floor accuracy", "not_worse f1"]


@pytest.mark.parametrize(
    ("candidate", "champion", "why"),
    [
        ({"accuracy": 0.79, "f1": 0.9}, None, "0.79 is below 0.8, the floor"),
        ({"accuracy": 0.9, "f1": 0.4}, {"f1": 0.5}, "below 0.49, the champion's 0.5 less 0.01"),
        ({"f1": 0.9}, None, "the candidate has no metric accuracy; it has: f1"),
        ({"accuracy": math.nan, "f1": 0.9}, None, "the candidate's accuracy is nan"),
        ({"accuracy": math.inf, "f1": 0.9}, None, "the candidate's accuracy is inf"),
        ({"accuracy": 0.9}, None, "the candidate has no metric f1"),
        ({"accuracy": 0.9, "f1": 0.9}, {"accuracy": 0.9}, "cannot compare: the champion has no metric f1"),
        ({"accuracy": 0.9, "f1": 0.9}, {"f1": math.nan}, "cannot compare: the champion's f1 is nan"),
    ],
)
def test_refuses_and_says_why(candidate, champion, why):
    gate = judge(POLICY, candidate, champion)
    assert not gate.passed
    [failed] = [check for check in gate.checks if not check.passed]
    assert why in failed.why


@pytest.mark.parametrize(("value", "passed"), [(19.9, True), (20.0, True), (20.1, False), (math.nan, False)])
def test_what_should_be_small_has_a_ceiling(value: float, passed: bool) -> None:
    assert judge(Policy(ceilings={"perplexity": 20}), {"perplexity": value}, None).passed == passed


@pytest.mark.parametrize(("metric", "value", "passed"), [("loss", 1.1, True), ("loss", 1.2, False), ("f1", 0.8, False)])
def test_worse_than_the_champion_is_more_of_a_loss_and_less_of_all_else(
    metric: str, value: float, passed: bool
) -> None:
    """Of a task among several as well."""
    for name in (metric, f"topic.{metric}"):
        gate = judge(Policy(not_worse={name: 0.125}), {name: value}, {name: 1.0}, several=name != metric)
        assert gate.passed == passed


@pytest.mark.parametrize("target", ["pm2.5", "PM10", "load mw", "a.rmse_b", "r2.loss"])
@pytest.mark.parametrize("task", ["", "air."])
def test_a_target_of_any_name_is_gated_by_its_error_and_by_its_r2(target: str, task: str) -> None:
    def passes(metric: str, value: float) -> bool:
        name = f"{task}{metric}_{target}"
        return judge(Policy(not_worse={name: 0.1}), {name: value}, {name: 0.5}, several=bool(task)).passed

    assert passes("mae", 0.1) and not passes("mae", 0.9)
    assert passes("r2", 0.9) and not passes("r2", 0.1)
    assert judge(Policy(ceilings={f"{task}rmse_{target}": 2}), {f"{task}rmse_{target}": 1}, None).passed


def test_without_a_champion_nothing_can_be_worse():
    gate = judge(POLICY, {"accuracy": 0.9, "f1": 0.0}, None)
    assert gate.passed
    assert gate.checks[1].why == "there is no champion to be worse than"


def test_a_policy_that_checks_nothing_lets_nothing_pass():
    assert not judge(Policy(), {"accuracy": 1.0}, None).passed


@given(st.dictionaries(st.sampled_from(["accuracy", "f1"]), st.floats()), st.floats(), st.floats())
def test_never_passes_what_is_below_a_limit(candidate, floor, slack):
    champion = {"f1": 0.5}
    gate = judge(Policy(floors={"accuracy": floor}, not_worse={"f1": slack}), candidate, champion)
    json.dumps(gate.model_dump(), allow_nan=False)
    holds = candidate.get("accuracy", math.nan) >= floor and candidate.get("f1", math.nan) >= 0.5 - slack
    assert not gate.passed or holds
