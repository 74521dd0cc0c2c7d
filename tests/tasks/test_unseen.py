"""Labels that validation or test ask for and nothing teaches are found before anything is trained."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gb_ray.section import UserError
from gb_ray.tasks import unseen
from gb_ray.tasks.section import SequenceClassificationSection, TokenClassificationSection

TEXT = SequenceClassificationSection(type="sequence-classification")
WORDS = TokenClassificationSection(type="token-classification")


def corpus(train: dict[str, int], validation: dict[str, int], test: dict[str, int]) -> Any:
    counts = {"train": train, "validation": validation, "test": test}
    splits = {split: SimpleNamespace(labels=labels) for split, labels in counts.items()}
    return SimpleNamespace(manifest=SimpleNamespace(splits=splits))


@pytest.mark.parametrize("section", [TEXT, TEXT.model_copy(update={"multi_label": True})])
def test_a_label_that_train_does_not_have_is_refused_with_what_to_do(section: Any) -> None:
    asked = {f"label {i}": 9 - i for i in range(7)}
    with pytest.raises(UserError) as refused:
        unseen.check({"topic": corpus({"b": 5}, {"a": 1}, {"b": 2} | asked)}, {"topic": section})
    validation, test = str(refused.value).splitlines()
    assert validation.startswith("tasks.topic: validation asks for labels that train has no row of, once: 'a' (1); ")
    assert "42 times: 'label 0' (9), 'label 1' (8), 'label 2' (7), 'label 3' (6), 'label 4' (5) and 2 more; " in test
    assert "`where`" in test and "corpus.splits" in test and "tasks.topic.labels" in test


def test_an_entity_is_known_by_its_type() -> None:
    train = {"O": 90, "B-LOC": 3}
    assert unseen.check({"ner": corpus(train, {}, {"O": 5, "B-LOC": 1, "I-LOC": 1})}, {"ner": WORDS}) == []
    with pytest.raises(UserError, match=r"tasks.ner: test asks for .*, 3 times: 'PER' \(3\);"):
        unseen.check({"ner": corpus(train, {}, {"O": 5, "B-PER": 2, "I-PER": 1})}, {"ner": WORDS})


def test_labels_that_the_recipe_names_are_told_and_those_of_the_model_before_are_taught() -> None:
    one = {"topic": corpus({"b": 5}, {}, {"a": 2})}
    named = TEXT.model_copy(update={"labels": ["a", "b"]})
    (line,) = unseen.check(one, {"topic": named})
    assert line == (
        "tasks.topic: test asks for labels that train has no row of, 2 times: 'a' (2); they count as wrong answers"
    )
    assert unseen.check(one, {"topic": TEXT}, taught={"topic": ["a"]}) == []


def test_a_model_is_told_what_it_never_learnt_of_another_corpus() -> None:
    manifest = {"tasks": {"tone": {"type": "sequence-classification", "labels": ["a", "b"]}}}
    other = {"topic": corpus({}, {}, {"a": 4, "c": 3})}
    assert unseen.of_model(manifest, other, "test") == {"topic": {"c": 3}}
    assert unseen.of_model(manifest, other, "validation") == {}
