"""What a search may try: a space that cannot work is refused before anything is started, by the name of its key."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_search import small_search

from gb_ray.corpus.corpus import Corpus
from gb_ray.recipe import parse
from gb_ray.section import UserError
from gb_ray.tasks.task import make
from gb_ray.tune import metric, space

LR = {"train.lr": {"log": [1e-5, 1e-3]}}


@pytest.mark.parametrize(
    ("tried", "said"),
    [
        ({}, "search.space"),
        ({"train.lrr": {"log": [1e-5, 1e-3]}}, "unknown key; did you mean 'lr'?"),
        ({"train.schedule.warmpu": {"uniform": [0, 0.2]}}, "did you mean 'warmup'?"),
        ({"train.lr": {"log": [0, 1e-3]}}, "0 < low"),
        ({"train.lr": {"uniform": [-1, 1]}}, "train.lr: Input should be greater than 0"),
        ({"train.lr": {"uniform": [1e-5, 1e-3], "choice": [1e-4]}}, "exactly one of log, uniform, whole and choice"),
        ({"train.lr": {"choice": []}}, "search.space.train.lr.choice"),
        ({"train.batch": {"choice": [16, "many"]}}, "train.batch: Input should be a valid integer"),
        ({"train.batch": {"uniform": [8, 32]}}, "train.batch: Input should be a valid integer"),
        ({"train.batch": {"whole": [8.5, 32]}}, "search.space.train.batch.whole"),
        ({"train.batch": {"whole": [32, 8]}}, "low < high"),
        ({"train.batch": {"whole": [0, 8]}}, "train.batch: Input should be greater than"),
        ({"model.max_tokens": {"choice": [16, 32]}}, "model.max_tokens: cannot be searched"),
        ({"train.epochs": {"choice": [1, 2]}}, "train.epochs: cannot be searched"),
        ({"train.checkpoint.every": {"choice": [1, 2]}}, "train.checkpoint.every: cannot be searched"),
        ({"corpus.lanes": {"choice": [1, 2]}}, "corpus.lanes: cannot be searched"),
        ({"seed": {"choice": [1, 2]}}, "seed: cannot be searched"),
        ({"tasks.topics.weight": {"choice": [1, 2]}}, "unknown key; this recipe's tasks are topic"),
    ],
)
def test_a_space_that_makes_no_recipe_is_refused_by_its_key(content: dict[str, Any], tried: Any, said: str) -> None:
    with pytest.raises(UserError) as refused:
        space.check(parse(content | {"search": {"space": tried}}, [], "r.yaml"), "r.yaml")
    assert said in str(refused.value) and "r.yaml" in str(refused.value)


def test_a_recipe_without_a_search_says_what_it_lacks(content: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"r\.yaml: search: required, missing"):
        space.check(parse(content, [], "r.yaml"), "r.yaml")


def test_values_go_into_the_recipe_and_the_search_out_of_it(content: dict[str, Any]) -> None:
    tried = {"train.lr": {"log": [1e-5, 1e-3]}, "model.adapter.rank": {"choice": [2, 4]}}
    recipe = parse(content | {"search": {"space": tried}}, [], "r.yaml")
    space.check(recipe, "r.yaml")
    values = {"train.lr": 1e-5, "model.adapter.rank": 4, "tasks.topic.label_smoothing": 0.1}
    best = space.with_values(recipe, values, "r.yaml")
    assert best.search is None and best.train.lr == 1e-5 and best.model.adapter and best.model.adapter.rank == 4
    assert best.tasks["topic"].label_smoothing == 0.1 and best.train.batch == recipe.train.batch
    assert recipe.digest() == parse(content, [], "r.yaml").digest(), "what is searched is no part of what a run is"


def test_choices_of_any_kind_come_back_from_a_sampler(content: dict[str, Any]) -> None:
    choices: list[Any] = ["all", "head", 2, ["*.query.*"]]
    tried = {"model.trained": {"choice": choices}} | LR
    search = space.check(parse(content | {"search": {"space": tried}}, [], "r.yaml"), "r.yaml")
    for choice in choices:
        values = {"model.trained": choice, "train.lr": 2e-5}
        assert space.decoded(search, space.coded(search, values)) == values


def test_a_metric_that_the_validation_split_does_not_have_is_refused_with_those_it_has(
    tmp_path: Path, backbone: Path
) -> None:
    both = small_search(tmp_path, backbone, {"topic": "class", "tags": "tokens"})
    corpora = {name: Corpus.open(path) for name, path in both.corpora.items()}
    tasks = {name: make(one, both.recipe.model.path, 64) for name, one in both.recipe.tasks.items()}
    assert metric.chosen("tags.entity_f1", tasks, corpora, "r.yaml") == "tags.entity_f1"
    for wanted, said in (("f1", "no metric 'f1'"), (None, "required, missing"), ("accuracy", "no metric 'accuracy'")):
        with pytest.raises(UserError, match=rf"r.yaml: search.metric: {said}.*topic.accuracy, .*tags.entity_f1"):
            metric.chosen(wanted, tasks, corpora, "r.yaml")
    alone = {"topic": corpora["topic"]}
    assert metric.chosen(None, {"topic": tasks["topic"]}, alone, "r.yaml") == "accuracy"


def test_the_best_trial_has_the_least_error_whatever_its_target_is_called(tmp_path: Path, backbone: Path) -> None:
    alone = small_search(tmp_path, backbone)
    several = replace(alone, recipe=alone.recipe.model_copy(update={"tasks": dict.fromkeys(("topic", "air"), None)}))
    found = {metric: replace(alone, metric=metric).better for metric in ("accuracy", "loss", "mae_pm2.5", "r2_pm2.5")}
    assert found == {"accuracy": 1, "loss": -1, "mae_pm2.5": -1, "r2_pm2.5": 1}
    assert [replace(several, metric=f"air.{metric}").better for metric in found] == list(found.values())


def test_without_rows_to_measure_on_there_is_no_search(tmp_path: Path, backbone: Path) -> None:
    search = small_search(tmp_path, backbone)
    task, corpus = make(search.recipe.tasks["topic"], search.recipe.model.path, 64), Corpus.open(tmp_path / "corpus")
    with pytest.raises(UserError, match=r"r\.yaml: corpus.splits.validation: task topic has no row"):
        metric.chosen(None, {"topic": task}, {"topic": corpus}, "r.yaml")
