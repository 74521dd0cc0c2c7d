"""Named entities in context: a sentence's words are asked about as they are without it, and more is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gb_ray.tasks.base import IGNORED
from gb_ray.tasks.context import fitting
from gb_ray.tasks.section import TokenClassificationSection
from gb_ray.tasks.token_classification import TokenClassification
from gb_ray.tasks.tokenizer import tokenizer

LABELS = ["O", "B-LOC", "B-PER", "I-LOC", "I-PER"]
words = st.sampled_from(
    ["grid", "solar", "Paris", "q", "zürich", "水", "London", "[SEP]", "</s>", "’", "\u200b", "wind"]
)
sentences = st.lists(st.tuples(words, st.sampled_from(LABELS)), min_size=1, max_size=12)


def make(backbone: Path | str, max_tokens: int, context: int = 8) -> TokenClassification:
    section = TokenClassificationSection(type="token-classification", context=context)
    return TokenClassification(section, str(backbone), max_tokens)


def row(before: str, tokens: str, after: str) -> dict[str, Any]:
    """Of words between blanks, each tagged B-LOC."""
    own = tokens.split()
    return {"before": before.split(), "tokens": own, "tags": ["B-LOC"] * len(own), "after": after.split()}


def shown(backbone: Path, max_tokens: int, row: dict[str, Any]) -> str:
    """The tokens of a row's sample, in capitals those that are asked about."""
    found = make(backbone, max_tokens).encode([row], LABELS)
    (ids,), (labels,) = found["input_ids"].to_pylist(), found["label"].to_pylist()
    tokens = tokenizer(str(backbone)).convert_ids_to_tokens(ids)
    assert len(tokens) == len(labels)
    return " ".join(token if label == IGNORED else token.upper() for token, label in zip(tokens, labels, strict=True))


def test_words_around_a_sentence_are_read_and_not_asked_about(backbone: Path) -> None:
    assert shown(backbone, 16, row("wind volt", "grid", "solar")) == "[CLS] wind volt GRID solar [SEP]"
    found = make(backbone, 16).encode([row("wind volt", "grid solar", "river")], LABELS)["label"].to_pylist()
    assert found == [[IGNORED, IGNORED, IGNORED, 1, 1, IGNORED, IGNORED]]
    assert make(backbone, 16).supervised(found[0]) == 2


@pytest.mark.parametrize(
    ("max_tokens", "expected"),
    [
        (2 + 1, "[CLS] GRID [SEP]"),
        (2 + 2, "[CLS] volt GRID [SEP]"),
        (2 + 3, "[CLS] volt GRID solar [SEP]"),
        (2 + 4, "[CLS] wind volt GRID solar [SEP]"),
        (2 + 5, "[CLS] wind volt GRID solar river [SEP]"),
        (2 + 6, "[CLS] pump wind volt GRID solar river [SEP]"),
        (2 + 7, "[CLS] pump wind volt GRID solar river well [SEP]"),
    ],
)
def test_the_nearest_words_come_first_and_both_sides_alike(max_tokens: int, expected: str, backbone: Path) -> None:
    assert shown(backbone, max_tokens, row("pump wind volt", "grid", "solar river well")) == expected


def test_what_one_side_leaves_free_the_other_takes(backbone: Path) -> None:
    assert shown(backbone, 6, row("", "grid", "solar river well pump")) == "[CLS] GRID solar river well [SEP]"
    assert shown(backbone, 6, row("well pump wind volt", "grid", "")) == "[CLS] pump wind volt GRID [SEP]"


def test_a_word_that_does_not_fit_whole_ends_its_side(backbone: Path) -> None:
    assert shown(backbone, 6, row("volt abcd", "grid", "solar river well")) == "[CLS] GRID solar river well [SEP]"
    assert shown(backbone, 8, row("wind volt abcd", "grid", "solar")) == "[CLS] a ##b ##c ##d GRID solar [SEP]"


def test_a_sentence_that_fills_the_model_by_itself_is_cut_as_it_is_without_context(backbone: Path) -> None:
    assert shown(backbone, 5, row("volt", "grid grid grid solar solar", "wind")) == "[CLS] GRID GRID GRID [SEP]"


def test_a_byte_level_bpe_counts_the_blank_before_every_word(byte_level: Path) -> None:
    assert shown(byte_level, 5, row("in zz", "Paris", "of London")) == "<s> ĠPARIS Ġof ĠLondon </s>"


@given(
    before=st.lists(words, max_size=8),
    sentence=sentences,
    after=st.lists(words, max_size=8),
    max_tokens=st.integers(4, 30),
)
@pytest.mark.parametrize("folder", ["backbone", "byte_level"])
def test_context_changes_neither_which_words_are_asked_about_nor_their_tags(
    folder: str,
    before: list[str],
    sentence: list[tuple[str, str]],
    after: list[str],
    max_tokens: int,
    request: pytest.FixtureRequest,
) -> None:
    """Its tokens are those of the sentence alone with more between them and the special ones."""
    path = request.getfixturevalue(folder)
    tokens, tags = [word for word, _ in sentence], [tag for _, tag in sentence]
    fields = {"tokens": tokens, "tags": tags, "before": before, "after": after}
    found = make(path, max_tokens).encode([fields], LABELS)
    alone = make(path, max_tokens, context=0).encode([fields], LABELS)
    ids, labels = found["input_ids"][0].as_py(), found["label"][0].as_py()
    own_ids, own_labels = alone["input_ids"][0].as_py()[1:-1], alone["label"][0].as_py()[1:-1]
    assert [label for label in labels if label != IGNORED] == [label for label in own_labels if label != IGNORED]
    places = [start for start in range(1, len(ids)) if labels[start : start + len(own_ids)] == own_labels]
    assert any(ids[start : start + len(own_ids)] == own_ids for start in places)
    assert len(ids) <= max_tokens


@given(
    before=st.lists(st.integers(0, 4), max_size=6),
    own=st.lists(st.integers(0, 4), max_size=6),
    after=st.lists(st.integers(0, 4), max_size=6),
    room=st.integers(0, 30),
)
def test_as_many_of_the_nearest_words_are_taken_as_there_is_room_for(
    before: list[int], own: list[int], after: list[int], room: int
) -> None:
    sides = {"before": before, "tokens": own, "after": after}
    row = {side: [f"{side} {i} {size}" for i, size in enumerate(sizes)] for side, sizes in sides.items()}
    sizes = {word: int(word.split()[-1]) for words in row.values() for word in words}
    left, right = fitting(row, sizes, room)
    assert left == row["before"][len(before) - len(left) :] and right == row["after"][: len(right)]
    free = room - sum(own) - sum(sizes[word] for word in left + right)
    assert free >= 0 or not left + right
    next_left, next_right = row["before"][: len(before) - len(left)][-1:], row["after"][len(right) :][:1]
    assert all(sizes[word] > free for word in next_left + next_right)


def test_a_clean_row_has_room_for_its_context_and_only_then() -> None:
    raw = {"tokens": ["a"], "tags": ["O"]}
    assert make("unused", 8).clean(raw) == raw | {"before": [], "after": []}
    assert make("unused", 8, context=0).clean(raw) == raw
    assert make("unused", 8, context=0).fields.names == ["tokens", "tags"]


def test_identity_and_text_are_of_the_own_words() -> None:
    task, one, other = make("unused", 8), row("a b", "grid", "c"), row("", "grid", "d")
    assert task.identity(one) == task.identity(other) and task.text(one) == task.text(other) == "grid"


def test_a_text_that_is_to_be_answered_is_its_own_context(backbone: Path) -> None:
    text = ["grid solar , wind"]
    assert make(backbone, 16).read(text) == make(backbone, 16, context=0).read(text)
