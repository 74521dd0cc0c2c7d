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
        path = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            message = f"unknown key{_nearest(str(fault['loc'][-1]), _known_keys(model, fault['loc'][:-1]))}"
        else:
            message = (
                f"{fault['msg']}, got {fault['input']!r:.60}" if fault["type"] != "missing" else "required, missing"
            )
        lines.append(f"{where}: {path}: {message}")
    return "\n".join(lines)


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
        found = [node]
    return [branch for child in found for branch in _branches(child, schema)]


def _branches(node: dict[str, Any], schema: dict[str, Any]) -> list[dict[str, Any]]:
    node = _resolve(node, schema)
    options = node.get("anyOf", []) + node.get("oneOf", [])
    return [_resolve(option, schema) for option in options] if options else [node]


def _resolve(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        node = schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]
    return node
