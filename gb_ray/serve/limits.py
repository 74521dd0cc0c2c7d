"""What a request may be: how many bytes, how many texts, how long, and of which characters."""

from __future__ import annotations

import json
from typing import Any

from fastapi import Request
from starlette.requests import ClientDisconnect

from gb_ray.serve.problem import Problem
from gb_ray.serve.section import ServeSection


async def read_body(request: Request, max_body: int) -> bytes:
    """The request's body, at most `max_body` bytes.

    Raises Problem 413 as soon as more is announced or has arrived: the rest is not read.
    """
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > max_body:
        raise _too_large(max_body)
    parts, size = [], 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > max_body:
                raise _too_large(max_body)
            parts.append(part)
    except ClientDisconnect:
        raise Problem(400, "The body ended before its announced length.") from None
    return b"".join(parts)


def parse(body: bytes, limits: ServeSection) -> list[str]:
    """The texts of a predict request's body, in order.

    Raises Problem 400 when the body is not JSON in UTF-8, 422 when it is not what `request_schema` describes.
    """
    content = _json(body)
    if not isinstance(content, dict):
        raise Problem(422, f"Expected an object with the key 'texts', got {_name(content)}.", "")
    unknown = sorted(set(content) - {"texts"})
    if unknown:
        raise Problem(422, f"Unknown key {unknown[0]!r:.80}; the only key is 'texts'.", "")
    if "texts" not in content:
        raise Problem(422, "The key 'texts' is missing.", "")
    texts = content["texts"]
    if not isinstance(texts, list):
        raise Problem(422, f"Expected a list of texts, got {_name(texts)}.", "/texts")
    if not 0 < len(texts) <= limits.max_texts:
        raise Problem(422, f"Expected 1 to {limits.max_texts} texts, got {len(texts)}.", "/texts")
    for index, text in enumerate(texts):
        _check_text(text, limits.max_chars, f"/texts/{index}")
    return texts


def request_schema(limits: ServeSection) -> dict[str, Any]:
    """The JSON schema of a predict request's body, with this endpoint's own limits."""
    text = {"type": "string", "minLength": 1, "maxLength": limits.max_chars, "pattern": r"\S"}
    texts = {"type": "array", "items": text, "minItems": 1, "maxItems": limits.max_texts}
    return {"type": "object", "properties": {"texts": texts}, "required": ["texts"], "additionalProperties": False}


def _json(body: bytes) -> Any:
    try:
        # Decoded here and strictly: json.loads would guess UTF-16 and let lone surrogates through.
        return json.loads(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise Problem(400, f"The body is not UTF-8: byte {error.start}.") from None
    except json.JSONDecodeError as error:
        raise Problem(400, f"The body is not JSON: {error.msg} at character {error.pos}.") from None
    except ValueError:
        raise Problem(400, "The body is not JSON that can be read here: a number has too many digits.") from None
    except RecursionError:
        raise Problem(400, "The body is not JSON that can be read here: it is nested too deeply.") from None


def _check_text(text: Any, max_chars: int, pointer: str) -> None:
    if not isinstance(text, str):
        raise Problem(422, f"Expected a text, got {_name(text)}.", pointer)
    if len(text) > max_chars:
        raise Problem(422, f"Expected at most {max_chars} characters, got {len(text)}.", pointer)
    if not text.strip():
        raise Problem(422, "The text is empty.", pointer)
    if "\0" in text:
        raise Problem(422, f"The text has a NUL character at {text.index(chr(0))}.", pointer)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise Problem(422, f"The text has half a surrogate pair at {error.start}.", pointer) from None


def _too_large(max_body: int) -> Problem:
    # The rest of the body is still on the wire: the connection cannot serve another request.
    return Problem(413, f"The body is larger than {max_body} bytes.", headers={"Connection": "close"})


def _name(value: Any) -> str:
    """What JSON calls the type of `value`."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
