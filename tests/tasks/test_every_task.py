"""What the corpus relies on in every task, whatever the rows hold."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from helpers import ROOT
from hypothesis import given
from hypothesis import strategies as st

from gb_ray.corpus.encoder import Encoder, Reject
from gb_ray.tasks.section import (
    CausalLmSection,
    EmbeddingSection,
    RegressionSection,
    SequenceClassificationSection,
    TokenClassificationSection,
)
from gb_ray.tasks.task import make
from gb_ray.tasks.tokenizer import Tokeniser, tokenizer

SECTIONS = {
    "one label": SequenceClassificationSection(type="sequence-classification"),
    "labels": SequenceClassificationSection(type="sequence-classification", multi_label=True, separator=";"),
    "tags": TokenClassificationSection(type="token-classification"),
    "tags in context": TokenClassificationSection(type="token-classification", context=2, document="document"),
    "numbers": RegressionSection(type="regression", targets=["load", "price"]),
    "numbers with last": RegressionSection(type="regression", targets=["load"], last=["price"]),
    "texts": CausalLmSection(type="causal-lm", text="text"),
    "responses": CausalLmSection(type="causal-lm", prompt="prompt", response="response"),
    "chats": CausalLmSection(type="causal-lm", messages="messages"),
    "pairs": EmbeddingSection(type="embedding", group="group"),
}
TASKS = st.sampled_from(list(SECTIONS))
VOCABULARY = """
    text label query document group tokens tags load price prompt response messages max_tokens
    is has have are not null empty expected a an or of no in within too under as to that
    unknown role NUL character UTF-8 list fraction number large finite many words tag IOB2 message without content
    control token the model assistant nothing learn missing str int float bool dict NoneType
"""

# What a JSON document can hold, lone surrogates included.
characters = st.characters(exclude_categories=())
strings = st.text(characters, max_size=20)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | strings
junk = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(strings, inner, max_size=3), max_leaves=8
)
words = st.text("abé水 \n\t\x00\u200b", max_size=8) | strings
message = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "tool"]) | junk, "content": words}
)
PLAUSIBLE: dict[str, st.SearchStrategy[Any]] = {
    "text": words,
    "prompt": words,
    "response": words,
    "query": words,
    "document": words,
    "group": words | st.integers(),
    "label": words | st.lists(words, max_size=3) | st.integers(),
    "tokens": st.lists(words, min_size=1, max_size=3),
    "tags": st.lists(st.sampled_from(["O", "B-A", "I-A"]) | words, min_size=1, max_size=3),
    "load": st.floats() | st.integers() | words | st.floats().map(str),
    "price": st.floats() | st.integers(),
    "messages": st.lists(message, max_size=4),
}
ROWS = st.fixed_dictionaries({column: values | junk for column, values in PLAUSIBLE.items()})


@pytest.fixture(scope="session")
def tasks(chatty: dict[str, Path]) -> dict[str, Encoder]:
    """Every task, with a tokenizer of bytes, blanks and line ends."""
    return {name: make(section, str(chatty["plain"]), 64) for name, section in SECTIONS.items()}


def fields_of(task: Encoder, row: dict[str, Any]) -> dict[str, Any] | None:
    try:
        return task.clean(row)
    except Reject:
        return None


@pytest.mark.parametrize("name", SECTIONS)
@given(row=ROWS)
def test_any_row_becomes_a_sample_or_is_refused(tasks: dict[str, Encoder], name: str, row: dict[str, Any]) -> None:
    task = tasks[name]
    fields = fields_of(task, row)
    if fields is None:
        return
    # Fields travel between stages as Arrow tables.
    again = pa.Table.from_pylist([fields], task.fields).to_pylist()
    assert again == [fields]
    assert task.text(fields) and task.identity(fields) and isinstance(task.stratum(fields), str)
    columns = task.encode(again, sorted(task.labels_of(fields)))
    made = pa.table([pa.array(columns[field.name], field.type) for field in task.samples], task.samples)
    assert len(made) == 1 and 1 <= len(made["input_ids"][0]) <= 64 * task.texts_a_sample


@given(name=TASKS, row=ROWS)
def test_reasons_hold_nothing_of_the_row(tasks: dict[str, Encoder], name: str, row: dict[str, Any]) -> None:
    """They are counted: a reason a row would be no account."""
    task = tasks[name]
    try:
        task.clean(row)
    except Reject as reject:
        assert set(str(reject).replace(",", "").split()) <= set(VOCABULARY.split())


@given(name=TASKS, row=ROWS)
def test_a_change_reaches_every_text_and_nothing_else(
    tasks: dict[str, Encoder], name: str, row: dict[str, Any]
) -> None:
    task = tasks[name]
    if fields := fields_of(task, row):
        assert task.with_text(fields, lambda text: text) == fields
        changed = task.with_text(fields, lambda text: f"<{text}>")
        assert all(part.startswith("<") and part.endswith(">") for part in _texts(changed))
        assert len(_texts(changed)) == len(_texts(fields))
        assert task.with_text(changed, lambda text: text[1:-1]) == fields
        assert task.labels_of(changed) == task.labels_of(fields)
        assert task.stratum(changed) == task.stratum(fields)


def _texts(fields: dict[str, Any]) -> list[str]:
    """Every text of clean fields, whatever the task."""
    plain = [fields[name] for name in ("text", "query", "document", "prompt", "response") if name in fields]
    lists = [fields.get(name, []) for name in ("tokens", "before", "after")]
    return [*plain, *chain(*lists), *(message["content"] for message in fields.get("messages", []))]


@pytest.mark.parametrize("name", SECTIONS)
def test_the_metric_by_which_models_are_ranked_is_told_first(tasks: dict[str, Any], name: str) -> None:
    """The report's verdict and the lines of weak slices are about it."""
    task = tasks[name]
    if name.startswith("numbers"):
        task = make(SECTIONS[name], "unused", 64, state={"mean": [0.0] * 2, "sd": [1.0] * 2})
    sums = np.ones({"tags": 6, "tags in context": 6, "numbers": 10}.get(name, 8))
    assert next(iter(task.from_sums(sums, ["a", "b"]))) == task.headline


def test_a_word_that_a_change_would_empty_stays_with_its_tag(tasks: dict[str, Encoder]) -> None:
    fields = {"tokens": ["in", "\u200b", "Paris"], "tags": ["O", "O", "B-LOC"]}
    changed = tasks["tags"].with_text(fields, lambda word: word.replace("\u200b", "").upper())
    assert changed == {"tokens": ["IN", "\u200b", "PARIS"], "tags": ["O", "O", "B-LOC"]}


@given(
    st.lists(st.text() | st.sampled_from(["<s>", "a</s>b", "[CLS] x", " <pad>grid"]), max_size=5), st.integers(4, 20)
)
def test_the_short_way_to_token_numbers_gives_the_same(
    backbone: Path, byte_level: Path, texts: list[str], max_tokens: int
) -> None:
    """As the tokenizer's own call, whatever it was set to by a call before."""
    for path in (backbone, byte_level):
        loaded = tokenizer(str(path))
        loaded(["a", "b c"], padding="max_length", max_length=50, truncation=True)
        expected = loaded(texts, truncation=True, max_length=max_tokens)["input_ids"] if texts else []
        assert Tokeniser.of(loaded).ids(texts, max_tokens) == expected
        assert Tokeniser.of(loaded).column(texts, max_tokens).to_pylist() == expected


def test_the_short_way_gives_the_same_in_205_languages(byte_level: Path) -> None:
    data = ROOT.parent / "shared" / "data" / "sib200" / "validation.parquet"
    if not data.is_file():
        pytest.skip("the texts of SIB-200 are not here")
    table = pq.read_table(data, columns=["lang", "text"])
    texts = table["text"].to_pylist()[::7]
    assert pc.count_distinct(table["lang"]).as_py() == 205
    loaded = tokenizer(str(byte_level))
    assert Tokeniser.of(loaded).ids(texts, 64) == loaded(texts, truncation=True, max_length=64)["input_ids"]
