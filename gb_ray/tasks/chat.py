"""Chats as a tokenizer's own template writes them, and which characters of them the assistant wrote."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from gb_ray.corpus.clean.text import clean_text
from gb_ray.corpus.encoder import Reject
from gb_ray.section import UserError

ROLES = ("system", "user", "assistant")
Message = dict[str, str]
_MARKED = re.compile(r"\{%-?\s*generation\s*-?%\}")


def clean_messages(value: Any, column: str) -> list[Message]:
    """The role and content of each message; other keys are not read. Raises Reject."""
    if not isinstance(value, list):
        raise Reject(f"{column} is {'null' if value is None else type(value).__name__}, expected a list of messages")
    if not all(isinstance(message, dict) and {"role", "content"} <= message.keys() for message in value):
        raise Reject(f"{column} has a message without role or content")
    if not all(message["role"] in ROLES for message in value):
        raise Reject(f"{column} has an unknown role")
    if not any(message["role"] == "assistant" for message in value):
        raise Reject(f"{column} has no message of the assistant")
    return [{"role": message["role"], "content": clean_content(message["content"], column)} for message in value]


def clean_content(value: Any, column: str) -> str:
    """NFC, line ends as one newline, ends stripped; what is inside keeps its lines and blanks. Raises Reject."""
    clean_text(value, column, 1)
    return unicodedata.normalize("NFC", value).replace("\r\n", "\n").replace("\r", "\n").strip()


def with_contents(messages: list[Message], change: Callable[[str], str]) -> list[Message]:
    """The messages with every content changed; who said it stays."""
    return [{**message, "content": change(message["content"])} for message in messages]


def template(loaded: Any, name: str) -> str:
    """The tokenizer's chat template. Raises UserError when it has none."""
    if not loaded.chat_template:
        raise UserError(f"{name}: its tokenizer has no chat template; use an instruct model's, or prompt and response")
    return str(loaded.get_chat_template())


def tokens(loaded: Any, messages: list[Message]) -> tuple[list[int], list[bool]]:
    """The token numbers of a chat, and which of them the assistant wrote. Raises Reject.

    Templates mark what the assistant writes with `{% generation %}`. In one that does not, a message of the assistant
    is what the chat up to it adds to the chat before it with the assistant's turn begun.
    """
    from jinja2 import TemplateError

    if any(control in message["content"] for message in messages for control in _controls(loaded)):
        raise Reject("messages have a control token of the model in a content")
    try:
        if _MARKED.search(loaded.get_chat_template()):
            made = loaded.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
            return made["input_ids"], [bool(mark) for mark in made["assistant_masks"]]
        text, spans = _spans(loaded, messages)
    except TemplateError:
        raise Reject("messages do not suit the chat template") from None
    made = loaded(text, add_special_tokens=False, return_offsets_mapping=True)
    return made["input_ids"], within(made["offset_mapping"], spans)


def within(offsets: list[tuple[int, int]], spans: list[tuple[int, int]]) -> list[bool]:
    """Which tokens begin in one of the spans [start, stop), in order, of characters. Both are in order."""
    found = []
    following = iter(spans)
    start, stop = next(following, (0, 0))
    for first, _ in offsets:
        while first >= stop and (span := next(following, None)):
            start, stop = span
        found.append(start <= first < stop)
    return found


@lru_cache(maxsize=4)
def _controls(loaded: Any) -> list[str]:
    """What the tokenizer reads as one of its own tokens wherever it stands."""
    return [str(token) for token in loaded.added_tokens_decoder.values() if token.special]


def _spans(loaded: Any, messages: list[Message]) -> tuple[str, list[tuple[int, int]]]:
    whole = loaded.apply_chat_template(messages, tokenize=False)
    spans = []
    for i, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        upto = loaded.apply_chat_template(messages[: i + 1], tokenize=False)
        if i:
            before = loaded.apply_chat_template(messages[:i], tokenize=False, add_generation_prompt=True)
            start = len(before) if upto.startswith(before) else -1
        else:  # a template cannot begin a turn of a chat that has nothing before it
            start = upto.rfind(message["content"])
        if start < 0 or not whole.startswith(upto):
            raise Reject("messages are rewritten by the chat template")
        spans.append((start, len(upto)))
    return whole, spans
