"""Each word is tokenised once, and nobody can tell from the tokens."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_ray.tasks import words
from gb_ray.tasks.tokenizer import Tokeniser, tokenizer
from gb_ray.tasks.words import Words

WORD = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(
    ["the", "wind", "a|b", "|", "[SEP]", "x[CLS]y", "É́", "风电", "x" * 150]
)
TEXT = st.lists(WORD, max_size=12).map(" ".join)


@given(st.lists(st.lists(TEXT, max_size=4), max_size=4), st.integers(4, 12))
def test_texts_in_any_portions_get_the_tokens_of_the_tokenizer(
    backbone: Path, portions: list[list[str]], max_tokens: int
) -> None:
    """Whatever words were met before, in this or another text."""
    loaded = tokenizer(str(backbone))
    tokeniser = Tokeniser.of(loaded)
    assert Words.apart(tokeniser.state)
    for texts in portions:
        expected = loaded(texts, truncation=True, max_length=max_tokens)["input_ids"] if texts else []
        assert Tokeniser.of(loaded).column(texts, max_tokens).to_pylist() == expected


@given(st.lists(st.lists(TEXT, max_size=4), max_size=4))
def test_words_are_forgotten_when_they_are_too_many(backbone: Path, portions: list[list[str]]) -> None:
    loaded = tokenizer(str(backbone))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(words, "MOST", 8)
        found = Words(Tokeniser.of(loaded).backend)
        for texts in portions:
            expected = loaded(texts, add_special_tokens=False)["input_ids"] if texts else []
            assert found.tokens(texts).to_pylist() == expected


def test_a_long_text_of_few_tokens_is_read_as_far_as_it_takes(backbone: Path) -> None:
    """A word of over 100 characters is one unknown token: six characters a token are not enough."""
    texts = ["the wind", " ".join(["x" * 150] * 40 + ["wind"] * 40), "wind " * 400]
    loaded = tokenizer(str(backbone))
    expected = loaded(texts, truncation=True, max_length=64)["input_ids"]
    assert len(expected[1]) == 64
    assert Tokeniser.of(loaded).column(texts, 64).to_pylist() == expected


def test_tokens_that_reach_over_blanks_are_not_taken_apart(byte_level: Path) -> None:
    assert not Words.apart(Tokeniser.of(tokenizer(str(byte_level))).state)
