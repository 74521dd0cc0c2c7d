"""Labels of a model and of a corpus under one numbering: no answer is taken for another label's."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gb_ray.tasks.alignment import Alignment, union
from gb_ray.tasks.base import IGNORED

NAMES = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=8, unique=True)


@given(NAMES, NAMES, NAMES)
def test_a_label_keeps_its_name_and_an_answer_its_label(model: list[str], corpus: list[str], more: list[str]) -> None:
    labels = union(corpus, model, more)
    asked, told = Alignment(corpus, labels), Alignment(model, labels)
    assert [labels[asked.label(i)] for i in range(len(corpus))] == corpus
    assert set(labels) == {*model, *corpus, *more} and len(labels) == len(set(labels))
    for i, name in enumerate(model):
        wide = told.logits(np.eye(len(model), dtype=np.float32)[i])
        assert wide.shape == (len(labels),) and labels[int(wide.argmax())] == name
        assert wide.dtype == np.float32 and (np.sort(wide)[: len(labels) - len(model)] < -1000).all()


@given(NAMES, NAMES)
def test_two_models_beside_each_other_have_one_numbering(one: list[str], other: list[str]) -> None:
    assert union(["a"], one, other) == union(["a"], other, one)


@given(NAMES, NAMES)
def test_tokens_that_nothing_is_asked_of_stay_so(model: list[str], corpus: list[str]) -> None:
    labels = union(model, corpus)
    tags = np.array([IGNORED, *range(len(corpus)), IGNORED], np.int32)
    found = Alignment(corpus, labels).label(tags)
    assert found[0] == found[-1] == IGNORED
    assert [labels[number] for number in found[1:-1]] == corpus
    assert Alignment(model, labels).logits(np.zeros((5, len(model)), np.float32)).shape == (5, len(labels))


def test_numbers_are_no_labels() -> None:
    values = np.array([-3.5, 2.0], np.float32)
    assert Alignment([], []).label(values) is values and Alignment([], []).logits(values) is values
