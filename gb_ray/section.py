"""The base of every section of a recipe, and the error that says which key of it is wrong."""

from __future__ import annotations

import difflib
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError


class UserError(Exception):
    """The user's input is wrong. The command line prints the message and exits with status 2."""


class Section(BaseModel):
    """A part of a recipe: immutable, and closed to keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


def explain(error: ValidationError, model: type[BaseModel], where: str) -> str:
    """One line for each wrong key: its path, what was expected, and the nearest known key."""
    lines = []
    for fault in error.errors():
        extra = fault["type"] == "extra_forbidden"
        parents, last = fault["loc"][:-1], str((fault["loc"] or ("",))[-1])
        path = ".".join([*_keys_of(model, parents), last] if extra else _keys_of(model, fault["loc"]))
        if extra:
            message = f"unknown key{_nearest(last, _known_keys(model, parents))}"
        elif fault["type"] == "missing":
            message = "required, missing"
        elif isinstance(fault["input"], dict):  # the keys of a section do not agree: each may be right by itself
            message = fault["msg"].removeprefix("Value error, ")
        else:
            message = f"{fault['msg']}, got {fault['input']!r:.60}"
        # Keys of several sections that do not agree are named in the message.
        lines.append(": ".join(filter(None, [where, path, message])))
    return "\n".join(lines)


def _keys_of(model: type[BaseModel], path: tuple[Any, ...]) -> list[str]:
    """The keys in the path of an error, without the tags and types of unions, which no document has."""
    schema = model.model_json_schema()
    nodes: list[dict[str, Any]] = [schema]
    keys = []
    for part in path:
        options = [node for node in nodes if node.get("type") != "null"]
        if len(options) > 1 and isinstance(part, str):
            nodes = _tagged(options, part)
            continue
        if isinstance(part, int) or any(_is_key(_resolve(node, schema), part) for node in nodes):
            keys.append(str(part))
        nodes = [child for node in nodes for child in _children(node, part, schema)]
    return keys


def _tagged(options: list[dict[str, Any]], tag: str) -> list[dict[str, Any]]:
    """The options of a union that an error is about: `tag` is a section's `type` or class, or a kind of value."""
    named = [
        node for node in options if tag in (node.get("properties", {}).get("type", {}).get("const"), node.get("title"))
    ]
    kind = {"dict": "additionalProperties", "list": "items"}.get(tag.partition("[")[0])
    return named or [node for node in options if kind is None or kind in node]


def _is_key(node: dict[str, Any], part: Any) -> bool:
    return part in node.get("properties", {}) or isinstance(node.get("additionalProperties"), dict)


def _nearest(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known keys: {', '.join(sorted(known))}"


def _known_keys(model: type[BaseModel], path: tuple[Any, ...]) -> list[str]:
    """The keys allowed at `path` of `model`, walking its JSON schema (unions and lists included)."""
    schema = model.model_json_schema()
    nodes: list[dict[str, Any]] = [schema]
    for part in path:
        nodes = [child for node in nodes for child in _children(node, part, schema)]
    return sorted({key for node in nodes for key in _resolve(node, schema).get("properties", {})})


def _children(node: dict[str, Any], part: Any, schema: dict[str, Any]) -> list[dict[str, Any]]:
    node = _resolve(node, schema)
    if isinstance(part, int):
        found = [node["items"]] if "items" in node else []
    elif part in node.get("properties", {}):
        found = [node["properties"][part]]
    elif isinstance(node.get("additionalProperties"), dict):
        found = [node["additionalProperties"]]
    else:
        # A union's tag is part of the error's path but not a key of the document: stay where we are.
        tag = node.get("properties", {}).get("type", {}).get("const")
        found = [node] if tag in (None, part) else []
    return [branch for child in found for branch in _branches(child, schema)]


def _branches(node: dict[str, Any], schema: dict[str, Any]) -> list[dict[str, Any]]:
    node = _resolve(node, schema)
    options = node.get("anyOf", []) + node.get("oneOf", [])
    return [_resolve(option, schema) for option in options] if options else [node]


def _resolve(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        node = schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]
    return node
