"""Named entities: which token has a word's label, what comes out of a text, and metrics that are those of seqeval."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import f1_score, precision_score, recall_score

from gb_ray.corpus.encoder import Reject
from gb_ray.tasks.section import TokenClassificationSection
from gb_ray.tasks.token_classification import IGNORED, TokenClassification
from gb_ray.tasks.tokenizer import tokenizer

LABELS = ["O", "B-LOC", "B-PER", "I-LOC", "I-PER"]


def make(backbone: Path | str = "unused", max_tokens: int = 32, **keys: Any) -> TokenClassification:
    return TokenClassification(
        TokenClassificationSection(type="token-classification", **keys), str(backbone), max_tokens
    )


def pieces(folder: Path, ids: list[int]) -> list[str]:
    return tokenizer(str(folder)).convert_ids_to_tokens(ids)


@pytest.mark.parametrize(
    ("tokens", "tags", "reason"),
    [
        (None, ["O"], "not a list"),
        (["a"], None, "not a list"),
        ("a", "O", "not a list"),
        ([], [], "tokens is empty"),
        (["a", "b"], ["O"], "not as many tags as tokens has words"),
        (["a"], ["PER"], "not IOB2"),
        (["a"], ["B-"], "not IOB2"),
        (["a"], ["b-PER"], "not IOB2"),
        (["a"], [3], "not IOB2"),
        (["a"], [None], "not IOB2"),
        (["a"], [["O"]], "not IOB2"),
        (["a"], ["B-ORG"], "outside the label set"),
        (["a"], ["B-PER\udcff"], "not UTF-8"),
        (["a", None], ["O", "O"], "tokens is null"),
        (["a", " "], ["O", "O"], "tokens is empty"),
        (["a", "\udcff"], ["O", "O"], "tokens is not UTF-8"),
    ],
)
def test_a_sentence_that_cannot_be_learnt_from_is_refused(tokens: Any, tags: Any, reason: str) -> None:
    labels = None if reason == "not UTF-8" else LABELS
    with pytest.raises(Reject, match=reason):
        make(labels=labels).clean({"tokens": tokens, "tags": tags})


def test_words_are_cleaned_and_stay_as_many_as_their_tags() -> None:
    found = make().clean({"tokens": [" a\n", "e\u0301", "New  York"], "tags": ["O", "O", "B-LOC"]})
    assert found == {"tokens": ["a", "é", "New York"], "tags": ["O", "O", "B-LOC"]}


@pytest.mark.parametrize(
    ("tags", "labels"),
    [
        (["O"], {"O"}),
        (["B-PER"], {"O", "B-PER", "I-PER"}),
        (["I-A-B"], {"O", "B-A-B", "I-A-B"}),
        (["B-A", "O", "B-B"], {"O", "B-A", "I-A", "B-B", "I-B"}),
    ],
)
def test_any_entity_can_begin_and_be_continued(tags: list[str], labels: set[str]) -> None:
    assert make().labels_of({"tokens": ["w"] * len(tags), "tags": tags}) == labels


def test_every_tag_the_recipe_names_is_a_label_though_no_row_has_it() -> None:
    task = make(labels=["O", "B-PER", "B-LOC"])
    assert task.labels_of({"tokens": ["w"], "tags": ["O"]}) == {"O", "B-PER", "I-PER", "B-LOC", "I-LOC"}


def test_only_the_first_piece_of_a_word_is_labelled_and_special_tokens_never(backbone: Path) -> None:
    rows = [{"tokens": ["grid", "paris", "q"], "tags": ["O", "B-LOC", "I-LOC"]}]
    found = make(backbone).encode(rows, LABELS)
    (ids,), (labels,) = found["input_ids"].to_pylist(), found["label"].to_pylist()
    assert pieces(backbone, ids) == ["[CLS]", "grid", "p", "##a", "##r", "##i", "##s", "q", "[SEP]"]
    assert labels == [IGNORED, 0, 1, IGNORED, IGNORED, IGNORED, IGNORED, 3, IGNORED]
    assert make(backbone).supervised(labels) == 3


def test_two_equal_words_in_a_row_are_two_words(backbone: Path) -> None:
    rows = [{"tokens": ["grid", "grid"], "tags": ["B-LOC", "B-LOC"]}]
    assert make(backbone).encode(rows, LABELS)["label"].to_pylist() == [[IGNORED, 1, 1, IGNORED]]


def test_words_beyond_max_tokens_are_cut_with_their_labels(backbone: Path) -> None:
    rows = [{"tokens": ["grid"] * 20, "tags": ["B-LOC"] * 20}]
    found = make(backbone, max_tokens=8).encode(rows, LABELS)
    assert found["label"].to_pylist() == [[IGNORED, *([1] * 6), IGNORED]]
    assert len(found["input_ids"][0]) == 8


def test_a_byte_level_bpe_sees_the_blank_before_every_word(byte_level: Path) -> None:
    rows = [{"tokens": ["London", "grid", "zz"], "tags": ["B-LOC", "O", "O"]}]
    found = make(byte_level).encode(rows, LABELS)
    shown = pieces(byte_level, found["input_ids"][0].as_py())
    assert shown == ["<s>", "ĠLondon", "Ġgrid", "Ġ", "z", "z", "</s>"]
    assert found["label"].to_pylist() == [[IGNORED, 1, 0, 0, IGNORED, IGNORED, IGNORED]]


@pytest.mark.parametrize("folder", ["backbone", "byte_level"])
def test_a_text_is_answered_from_the_tokens_its_words_were_learnt_with(
    folder: str, request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue(folder)
    words = ["london", "grid", ",", "in", "Paris", "’", "\U0001f600", "zürich", "."]
    text = "london  grid, in\nParis ’ \U0001f600 zu\u0308rich."
    rows = [{"tokens": words, "tags": ["O"] * len(words)}]
    ((ids, places),) = make(path, max_tokens=64).read([text])
    assert ids == make(path, max_tokens=64).encode(rows, LABELS)["input_ids"][0].as_py()
    spans = list(dict.fromkeys(place for place in places if place != (0, 0)))
    assert [text[start:end] for start, end in spans] == [*words[:7], "zu\u0308rich", "."]


@pytest.mark.parametrize("word", ["हिन्दी", "l’été", "it's", "ภาษาไทย", "می\u200cروم", "e\u0301te\u0301"])
def test_a_word_of_any_script_is_one_word(word: str, backbone: Path) -> None:
    ((_, places),) = make(backbone, max_tokens=64).read([f"grid {word} grid"])
    assert set(places) == {(0, 0), (0, 4), (5, 5 + len(word)), (6 + len(word), 10 + len(word))}


def logits_of(places: list[tuple[int, int]], tags: list[str], text: str) -> np.ndarray:
    """Scores of a model that is sure of the tag of each word and wrong about every other token."""
    table = np.zeros((len(places), len(LABELS)), np.float32)
    words = list(dict.fromkeys(place for place in places if place != (0, 0)))
    seen: set[tuple[int, int]] = set()
    for token, place in enumerate(places):
        sure = tags[words.index(place)] if place in words and place not in seen else "B-PER"
        table[token, LABELS.index(sure)] = 9
        seen.add(place)
    return table


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("O O O O O", []),
        ("B-LOC I-LOC O B-PER O", [("LOC", "New York"), ("PER", "anna")]),
        ("B-LOC B-LOC O O O", [("LOC", "New"), ("LOC", "York")]),
        ("B-LOC I-PER O O O", [("LOC", "New"), ("PER", "York")]),
        ("O I-LOC I-LOC O I-PER", [("LOC", "York ,"), ("PER", "grid")]),
        ("B-LOC O I-LOC O O", [("LOC", "New"), ("LOC", ",")]),
    ],
)
def test_entities_are_read_from_the_first_token_of_each_word(
    tags: str, expected: list[tuple[str, str]], backbone: Path
) -> None:
    text, task = "New York , anna grid", make(backbone)
    ((_, places),) = task.read([text])
    found = task.answer(text, places, logits_of(places, tags.split(), text), LABELS)["entities"]
    assert [(entity["label"], entity["text"]) for entity in found] == expected


def test_an_entity_is_as_sure_as_its_least_sure_word(backbone: Path) -> None:
    task = make(backbone)
    ((_, places),) = task.read(["grid solar"])
    table = np.full((4, len(LABELS)), -20, np.float32)
    table[1, 1], table[2, [0, 3]] = 20, [0, np.log(3)]
    (entity,) = task.answer("grid solar", places, table, LABELS)["entities"]
    assert entity["score"] == pytest.approx(0.75, abs=1e-6)


@given(st.text(max_size=40), st.integers(0, 10**6))
def test_entities_of_any_text_lie_in_it_one_after_the_other(backbone: Path, text: str, seed: int) -> None:
    task = make(backbone, max_tokens=16)
    ((ids, places),) = task.read([text])
    assert len(ids) == len(places) <= 16
    table = np.random.default_rng(seed).normal(size=(len(ids), len(LABELS))).astype(np.float32)
    previous = 0
    for entity in task.answer(text, places, table, LABELS)["entities"]:
        assert previous <= entity["start"] < entity["end"] <= len(text)
        assert entity["text"] == text[entity["start"] : entity["end"]]
        assert not entity["text"][0].isspace()
        assert entity["label"] in ("LOC", "PER")
        assert 1 / len(LABELS) <= entity["score"] <= 1
        previous = entity["end"]


def test_metrics_are_those_of_seqeval_over_the_asked_tokens() -> None:
    random = np.random.default_rng(0)
    targets, truth, logits, answers = [], [], [], []
    for _ in range(40):
        tags = random.integers(0, len(LABELS), 9)
        asked = random.random(9) < 0.7
        guess = np.where(random.random(9) < 0.6, tags, random.integers(0, len(LABELS), 9))
        targets.append(np.where(asked, tags, IGNORED).astype(np.int32))
        logits.append(np.eye(len(LABELS), dtype=np.float32)[guess])
        truth.append([LABELS[i] for i in tags[asked]])
        answers.append([LABELS[i] for i in guess[asked]])
    flat = [a == b for one, other in zip(truth, answers, strict=True) for a, b in zip(one, other, strict=True)]
    found = make().metrics(logits, targets, LABELS)
    assert found == pytest.approx(
        {
            "entity_f1": f1_score(truth, answers),
            "entity_precision": precision_score(truth, answers),
            "entity_recall": recall_score(truth, answers),
            "accuracy": sum(flat) / len(flat),
        }
    )
    assert 0.2 < found["entity_f1"] < 0.9


def test_known_metrics_by_hand_a_half_right_span_is_wrong() -> None:
    targets = [np.array([1, 3, 0, 2], np.int32)]
    logits = [np.eye(len(LABELS), dtype=np.float32)[[1, 0, 0, 2]]]
    found = make().metrics(logits, targets, LABELS)
    assert found == {"entity_f1": 0.5, "entity_precision": 0.5, "entity_recall": 0.5, "accuracy": 0.75}


def test_a_split_without_entities_has_metrics() -> None:
    logits = [np.eye(len(LABELS), dtype=np.float32)[[0, 0]]]
    found = make().metrics(logits, [np.array([0, 0])], LABELS)
    assert found == {"entity_f1": 0, "entity_precision": 0, "entity_recall": 0, "accuracy": 1}


@given(st.integers(1, 6), st.integers(1, 8), st.integers(0, 99))
def test_the_loss_is_a_sum_over_words_and_padding_adds_nothing(rows: int, width: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    logits = torch.from_numpy(random.normal(size=(rows, width, len(LABELS))).astype(np.float32))
    labels = [np.where(random.random(width) < 0.5, 2, IGNORED) for _ in range(rows)]
    task = make()
    whole = float(task.loss(logits, task.targets(labels, width)))
    asked = np.stack(labels) != IGNORED
    logs = torch.log_softmax(logits, -1)[..., 2].numpy()
    assert whole == pytest.approx(-logs[asked].sum(), rel=1e-4, abs=1e-6)
    wider = torch.nn.functional.pad(logits, (0, 0, 0, 3), value=5.0)
    assert float(task.loss(wider, task.targets(labels, width + 3))) == pytest.approx(whole, rel=1e-5, abs=1e-6)
