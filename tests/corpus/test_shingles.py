"""Shingles: what is written alike is compared as equal, in every script, one text at a time or many."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_ray.corpus.near.shingles import UNITS, jaccard, sets, shingles

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=60)
LETTERS = st.text("abcde", min_size=UNITS, max_size=60)


def alike(one: str, other: str) -> float:
    return jaccard(shingles(one), shingles(other))


@given(TEXTS)
def test_every_text_has_sorted_shingles_none_twice(text: str) -> None:
    found = shingles(text)
    assert found.dtype == np.uint64
    assert len(found) >= 1
    assert (found[1:] > found[:-1]).all()


@given(st.lists(TEXTS, max_size=12))
def test_many_texts_have_the_shingles_of_each_alone(texts: list[str]) -> None:
    """Neighbours share one array: nothing may run over an edge, not even a combining mark that comes first."""
    found = sets(texts)
    assert [one.tolist() for one in found] == [shingles(text).tolist() for text in texts]


def test_texts_that_fill_several_batches_keep_their_order() -> None:
    texts = [f"{word} {i}" * 900 for i, word in enumerate(["river", "река", "河流", "নদী", "نهر"] * 9)] + ["", "short"]
    assert [one.tolist() for one in sets(texts)] == [shingles(text).tolist() for text in texts]


@given(LETTERS, LETTERS)
def test_similarity_is_that_of_the_sets_of_character_runs(one: str, other: str) -> None:
    a, b = ({text[i : i + UNITS] for i in range(len(text) - UNITS + 1)} for text in (one, other))
    assert len(shingles(one)) == len(a)
    assert alike(one, other) == len(a & b) / len(a | b)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The grid is down, again!", "the GRID is down again"),
        ("Straße nach Köln", "STRASSE nach Ko\u0308ln"),
        ("ﬁnal oﬀer", "Final offer"),
        ("ＡＢＣ１２３ ｋＷ", "abc123kw"),
        ("東京電力、停電。", "東京電力 停電"),
        ("ｶﾀｶﾅのテスト", "カタカナのテスト"),
        ("ΟΔΟΣ ΑΘΗΝΩΝ", "οδος αθηνων"),
        ("می\u200cخواهم", "میخواهم"),
        ("นาฬิกา เดิน", "นาฬิกาเดิน"),
    ],
)
def test_case_width_punctuation_and_spaces_make_no_difference(one: str, other: str) -> None:
    assert alike(one, other) == 1


@pytest.mark.parametrize(
    ("one", "other"), [("की", "कि"), ("ab", "ba"), ("5 kW", "6 kW"), ("!!", "?"), ("👍", "👎"), ("", "?")]
)
def test_short_texts_that_differ_have_nothing_in_common(one: str, other: str) -> None:
    """Vowel signs are part of a word; a text of nothing but punctuation is not the same as any other such text."""
    assert len(shingles(one)) == len(shingles(other)) == 1
    assert alike(one, other) == 0


@pytest.mark.parametrize(
    ("text", "word", "other"),
    [
        ("the minister of energy spoke to the parliament about the new plan for power lines", "plan", "idea"),
        ("能源部长就新的输电线路计划向议会发表了讲话并回答了许多问题", "计划", "方案"),
        ("에너지부 장관은 새로운 송전선 계획에 대해 국회에서 연설하고 질문에 답했다", "계획", "방안"),
        ("министр энергетики рассказал парламенту о новом плане строительства линий", "плане", "проекте"),
    ],
)
def test_one_changed_word_costs_about_the_same_in_every_script(text: str, word: str, other: str) -> None:
    assert 0.7 <= alike(text, text.replace(word, other)) <= 0.9


def test_unlike_texts_of_one_language_have_little_in_common() -> None:
    assert alike("the river flooded the village in the spring", "the minister opened a new power station") < 0.1
