"""What is tried next, and for how long: the same after a kill as without one."""

from __future__ import annotations

from math import log10
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_ray.tune import searcher, space
from gb_ray.tune.chart import chart
from gb_ray.tune.ledger import Ledger, Mark, Trial, cost, name_of, ranked
from gb_ray.tune.section import SearchSection

SECTION = SearchSection.model_validate(
    {
        "space": {
            "train.lr": {"log": [1e-5, 1e-2]},
            "model.dropout": {"uniform": [0, 0.3]},
            "train.batch": {"choice": [8, 16]},
        },
    }
)


def worth(values: dict[str, Any]) -> float:
    """The nearer to 1e-4, the better."""
    return 1 - abs(log10(values["train.lr"]) + 4) / 3


def proposed(count: int, ended: list[Trial], begun: list[Trial], seed: int = 0) -> list[Trial]:
    """What a search proposes one after the other, each of which ends when ASHA says so."""
    proposer = searcher.proposals(SECTION, "accuracy", "max", seed, ended, begun)
    scheduler = searcher.asha(SECTION, "accuracy", "max")
    marks = SECTION.asha.marks
    for one in ended:
        searcher._recall(scheduler, one, SimpleNamespace(marks=marks, metric="accuracy"))
    found = []
    for number in range(len(ended), count):
        values = space.decoded(SECTION, proposer.suggest(str(number)))
        trial = SimpleNamespace(trial_id=name_of(values))
        scheduler.on_trial_add(None, trial)
        curve: list[Mark] = []
        for mark in marks:
            value = worth(values) * (0.5 + mark / marks[-1] / 2)
            curve.append(Mark(10 * mark, {"accuracy": value}))
            if scheduler.on_trial_result(None, trial, {searcher.MARK: mark, "accuracy": value}) == "STOP":
                break
        proposer.on_trial_complete(str(number), {"accuracy": curve[-1].metrics["accuracy"]})
        ended_how: Any = "full" if len(curve) == len(marks) else "early"
        found.append(Trial(trial.trial_id, number, values, ended_how, None, curve, 160))
    return found


def test_a_search_that_goes_on_ends_as_one_that_was_never_killed() -> None:
    whole = proposed(14, [], [])
    assert {trial.ended for trial in whole} == {"full", "early"}
    for kept in (1, 6, 12):
        cut = whole[kept]
        begun = Trial(cut.name, cut.number, cut.values, None, None, cut.curve[:1], 160)
        assert whole[:kept] + proposed(14, whole[:kept], [begun]) == whole


def test_proposals_come_nearer_to_what_was_good_and_no_two_keys_move_together() -> None:
    found = proposed(40, [], [])
    first, last = (sum(worth(trial.values) for trial in part) / 10 for part in (found[:10], found[30:]))
    assert last > first + 0.1
    shares = [((log10(t.values["train.lr"]) + 5) / 3, t.values["model.dropout"] / 0.3) for t in found[:10]]
    assert any(abs(a - b) > 0.1 for a, b in shares)


def test_a_range_of_whole_numbers_is_tried_to_its_ends_and_never_between_two_of_them() -> None:
    section = SearchSection.model_validate({"space": {"model.adapter.rank": {"whole": [2, 5]}}})
    proposer = searcher.proposals(section, "accuracy", "max", 0, [], [])
    found = [space.decoded(section, proposer.suggest(str(number)))["model.adapter.rank"] for number in range(40)]
    assert set(found) == {2, 3, 4, 5} and all(type(value) is int for value in found)
    trials = [
        Trial(str(n), n, {"model.adapter.rank": rank}, "full", None, [Mark(1, {"m": n / 40})], 1)
        for n, rank in enumerate(found)
    ]
    assert ">2</text>" in chart(trials, section, "m") and ">5</text>" in chart(trials, section, "m")


def test_early_ends_save_half_of_the_steps_and_not_the_best_trial() -> None:
    searches = [proposed(16, [], [], seed) for seed in range(8)]
    assert sum(map(cost, searches)) / 8 <= 0.5
    for found in searches:
        assert worth(ranked(found, "accuracy", 1)[0].values) >= max(worth(trial.values) for trial in found) - 0.05


curves = st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=9), min_size=1, max_size=20)


@given(curves, st.sampled_from([1, -1]))
def test_the_best_trial_is_the_best_of_those_trained_for_longest(found: list[list[float]], better: int) -> None:
    trials = [
        Trial(str(i), i, {}, "early", None, [Mark(n, {"m": value}) for n, value in enumerate(curve, 1)], 9)
        for i, curve in enumerate(found)
    ]
    failed = Trial("f", len(trials), {}, "failed", "a spike", [Mark(n, {"m": 0.5}) for n in range(9)], 9)
    first, longest = ranked([failed, *trials], "m", better)[0], max(map(len, found))
    best = (max if better > 0 else min)(curve[-1] for curve in found if len(curve) == longest)
    assert len(first.curve) == longest and first.curve[-1].metrics["m"] == best and first.name != "f"
    assert 0 < cost(trials) <= 1


def test_the_ledger_knows_after_a_restart_what_ended_and_what_had_only_begun(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    for lr in (1e-3, 1e-4):
        ledger.begin({"train.lr": lr})
    ended, going = (name_of({"train.lr": lr}) for lr in (1e-3, 1e-4))
    ledger.mark(ended, [Mark(10, {"accuracy": 0.5})], 90)
    ledger.end(ended, "early")
    again = Ledger(tmp_path)
    again.begin({"train.lr": 1e-3})
    again.end(ended, "failed", "what ended stays as it ended")
    assert [(t.name, t.number, t.ended, t.steps) for t in again.trials()] == [
        (ended, 0, "early", 10),
        (going, 1, None, 0),
    ]


def test_the_chart_is_an_image_with_a_point_for_each_trial_in_each_panel() -> None:
    from xml.etree import ElementTree

    found = ranked(proposed(8, [], []), "accuracy", 1)
    tree = ElementTree.fromstring(chart(found, SECTION, "accuracy"))
    circles = tree.findall(".//{http://www.w3.org/2000/svg}circle")
    assert len(circles) == 8 * (1 + len(SECTION.space))
    assert sum(circle.get("class") == "dot best" for circle in circles) == 1 + len(SECTION.space)
    for circle in circles:
        assert float(circle.get("cx", "nan")) > 0 and float(circle.get("cy", "nan")) > 0


@pytest.mark.parametrize("trials", [[], [Trial("x", 0, {"train.lr": 1e-3}, "failed", "a spike", [], 90)]])
def test_a_chart_of_nothing_is_an_image_too(trials: list[Trial]) -> None:
    assert chart(trials, SECTION, "accuracy").startswith("<svg")
