"""Answers: a text's own, whatever it is batched with, and only from a directory that verifies."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import pipeline

from gb_ray.model.predictor import Predictor
from gb_ray.section import UserError

LONG = "grid solar wind volt turbine power clinic vaccine nurse fever midwife dose river well pump flood " * 3
TEXTS = ["grid", "solar wind", "river 7, pump", "", "  \n", "xyzzy", LONG, "नर्स clinic"]


@pytest.fixture(scope="module")
def predictors(exported: dict[str, Path]) -> dict[str, Predictor]:
    return {name: Predictor(path) for name, path in exported.items()}


def assert_same(found: Any, expected: Any) -> None:
    """Equal, numbers to 1e-5."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            assert_same(found[key], expected[key])
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, abs=1e-5)
    else:
        assert found == expected


@pytest.mark.parametrize("task", ["topics", "entities", "vectors"])
@settings(max_examples=25, deadline=None)
@given(texts=st.lists(st.sampled_from(TEXTS), min_size=1, max_size=6))
def test_an_answer_does_not_depend_on_the_batch(task: str, predictors: dict[str, Predictor], texts: list[str]) -> None:
    predictor = predictors[task]
    together = predictor.predict(predictor.encode(texts))
    alone = [predictor.predict(predictor.encode([text]))[0] for text in texts]
    assert_same(together, alone)


def test_answers_differ_between_texts(predictors: dict[str, Predictor]) -> None:
    """Else the test above would say nothing."""
    for predictor in predictors.values():
        answers = predictor.predict(predictor.encode(["grid", "solar wind clinic", LONG]))
        scores = [str(answer.get("probabilities") or answer) for answer in answers]
        assert len(set(scores)) == 3


def test_no_texts_have_no_answers(predictors: dict[str, Predictor]) -> None:
    for predictor in predictors.values():
        assert predictor.predict(predictor.encode([])) == []


def test_a_topic_is_the_one_that_plain_transformers_gives(exported: dict[str, Path]) -> None:
    predictor = Predictor(exported["topics"])
    plain = pipeline("text-classification", model=str(exported["topics"]), top_k=None, device="cpu")
    for text in ("grid", "river 7, pump", "nurse dose fever"):
        (answer,) = predictor.predict(predictor.encode([text]))
        expected = {entry["label"]: entry["score"] for entry in plain([text])[0]}
        assert answer["probabilities"] == pytest.approx(expected, abs=1e-5)
        assert answer["label"] == max(expected, key=lambda label: expected[label])


def test_entities_are_words_of_the_text_and_a_long_text_is_cut(predictors: dict[str, Predictor]) -> None:
    predictor = predictors["entities"]
    (encoded,) = predictor.encode([LONG])
    assert len(encoded.input_ids) == predictor.tasks["entities"].max_tokens == 32
    found = [e for answer in predictor.predict(predictor.encode(TEXTS)) for e in answer["entities"]]
    assert found
    words = set(" ".join(TEXTS).replace(",", " , ").split())
    assert all(word in words for entity in found for word in entity["text"].replace(",", " , ").split())


def test_white_space_and_composition_do_not_change_a_topic(predictors: dict[str, Predictor]) -> None:
    predictor = predictors["topics"]
    clean, raw = predictor.predict(predictor.encode(["caf\u00e9 grid", " cafe\u0301\n\n grid\u00a0"]))
    assert_same(raw, clean)


def test_a_directory_that_does_not_verify_is_not_loaded(exported: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(exported["topics"], tmp_path / "model")
    with (tmp_path / "model" / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    with pytest.raises(UserError, match=r"model\.safetensors: altered"):
        Predictor(tmp_path / "model")
