"""A text made of the columns of a row, as a template says: "{temp:.0f} degrees, a {day:%A} in {day:%B}"."""

from __future__ import annotations

import re
from contextlib import suppress
from string import Formatter
from typing import Any

from gb_ray.corpus.encoder import Reject
from gb_ray.corpus.sources.formats.piece import Row
from gb_ray.section import UserError

_PARSER = Formatter()
_PLACES = re.compile(r"(.?[<>^])?([1-9]\d*)?s?", re.DOTALL)
"""A spec that says where a cell stands and no more: of a code such as 007 each digit stays."""


def columns_of(template: str, where: str) -> list[str]:
    """The columns that a template names. Raises UserError, naming `where`, when it is none.

    A name stands for a whole cell: what Python's formatting can reach inside of one is not for data to reach.
    """
    try:
        fields = [(name, spec) for _, name, spec, _ in _PARSER.parse(template) if name is not None]
    except ValueError as error:
        raise UserError(f"{where}: {template!r} is no template: {error}") from None
    for name, spec in fields:
        if not name or set(name) & set(".[") or "{" in (spec or ""):
            raise UserError(f"{where}: {{{name}}}: expected the name of a column, as {{temp}} or {{temp:.1f}}")
    if not fields:
        raise UserError(f"{where}: {template!r} names no column; expected one at least, as {{temp}}")
    return [name for name, _ in fields]


def compose(template: str, row: Row) -> str:
    """The template filled in. Raises Reject for a row without a value that it names, or with one of another kind."""
    found: list[Any] = []
    for literal, name, spec, _ in _PARSER.parse(template):
        found.append(literal)
        if name is None:
            continue
        if row.get(name) is None:
            raise Reject(f"{name} is null")
        found.append(_written(row[name], spec or "", name))
    return "".join(found)


def _written(value: Any, spec: str, name: str) -> str:
    """A number that a file of text holds is one here, before a spec that suits texts too cuts its digits."""
    counts = isinstance(value, str) and not _PLACES.fullmatch(spec)
    for kind in (int, float, str) if counts else (lambda same: same, float):
        with suppress(ValueError, TypeError):
            return format(kind(value), spec)
    raise Reject(f"{name} cannot be written as {spec!r}")
