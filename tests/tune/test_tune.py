"""What a search may try, and what is kept of its trials."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parent.parent / "train"))

from processes import run
from small_job import small_job
from synthetic import make_corpus

from gb_ray.recipe import parse
from gb_ray.section import UserError
from gb_ray.train.job import Job
from gb_ray.tune import space
from gb_ray.tune.ledger import Ledger, Trial, cost, ranked
from gb_ray.tune.trial import epochs


@pytest.mark.parametrize(
    ("tried", "said"),
    [
        ({}, "search.space"),
        ({"train.lrr": {"log": [1e-5, 1e-3]}}, "unknown key; did you mean 'lr'?"),
        ({"train.lr": {"log": [0, 1e-3]}}, "0 < low"),
        ({"train.lr": {"uniform": [-1, 1]}}, "train.lr: Input should be greater than 0"),
        ({"train.lr": {"uniform": [1e-5, 1e-3], "choice": [1e-4]}}, "exactly one of log, uniform and choice"),
        ({"train.batch": {"choice": [16, "many"]}}, "train.batch: Input should be a valid integer"),
        ({"model.max_tokens": {"choice": [16, 32]}}, "model.max_tokens: cannot be searched"),
        ({"train.epochs": {"choice": [1, 2]}}, "train.epochs: cannot be searched"),
        ({"corpus.lanes": {"choice": [1, 2]}}, "corpus.lanes: cannot be searched"),
    ],
)
def test_a_space_that_makes_no_recipe_is_refused_by_its_key(content: dict[str, Any], tried: Any, said: str) -> None:
    with pytest.raises(UserError) as refused:
        space.check(parse(content | {"search": {"space": tried}}, [], "r.yaml"), "r.yaml")
    assert said in str(refused.value) and "r.yaml" in str(refused.value)


def test_values_go_into_the_recipe_and_the_search_out_of_it(content: dict[str, Any]) -> None:
    recipe = parse(content | {"search": {"space": {"train.lr": {"log": [1e-5, 1e-3]}}}}, [], "r.yaml")
    best = space.with_values(recipe, {"train.lr": 1.5e-5, "model.dropout": 0.25}, "r.yaml")
    assert (best.train.lr, best.model.dropout, best.search) == (1.5e-5, 0.25, None)
    assert best.train.batch == recipe.train.batch and recipe.digest() == parse(content, [], "r.yaml").digest()


curves = st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=9), min_size=1, max_size=20)


@given(curves, st.sampled_from(["min", "max"]))
def test_the_best_trial_is_the_best_of_those_trained_for_longest(found: list[list[float]], mode: str) -> None:
    trials = [Trial(str(i), {}, curve) for i, curve in enumerate(found)]
    first, longest = ranked(trials, mode)[0], max(map(len, found))
    best = (max if mode == "max" else min)(curve[-1] for curve in found if len(curve) == longest)
    assert len(first.curve) == longest and first.score == best
    assert 0 < cost(trials, 9) <= 1


def test_ended_trials_are_there_after_a_restart(tmp_path: Path) -> None:
    trials = [Trial(f"{i}", {"train.lr": 10.0**-i}, [0.1, i / 3]) for i in range(3)]
    for trial in trials:
        Ledger(tmp_path).add(trial)
    assert Ledger(tmp_path).trials() == trials


def test_a_trial_is_measured_after_every_epoch_as_it_would_be_again(tmp_path: Path, backbone: Path) -> None:
    make_corpus(tmp_path / "both", {"train": [(1.0, 64)], "validation": [(1.0, 32)]}, lanes=6, shard_rows=16)
    job = replace(small_job(tmp_path, backbone, epochs=3), corpus=tmp_path / "both")
    first, again = run(1, _measured, job), run(1, _measured, job)
    assert first == again and len(first[0]) == 3
    assert len({tuple(metrics.items()) for metrics in first[0]}) == 3


def _measured(job: Job) -> list[dict[str, float]]:
    return list(epochs(job))
