"""HTML and SVG from Python, escaped unless it is markup already."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any


class Markup(str):
    """Text that is HTML."""


def element(name: str, *inside: Any, **attributes: Any) -> Markup:
    """An element; `class_` and `stroke_width` stand for class and stroke-width, an attribute that is None is left out.

    What is inside is escaped, but for Markup.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{written}>{join(inside)}</{name}>")


def join(parts: Iterable[Any]) -> Markup:
    """One after the other, escaped unless Markup."""
    return Markup("".join(part if isinstance(part, Markup) else escape(str(part)) for part in parts))


def table(head: list[Any], rows: Iterable[list[Any]], left: int = 1) -> Markup:
    """A table whose first `left` columns are text and whose others are figures, aligned to the right."""
    kinds = ["text" if place < left else "figure" for place in range(len(head))]
    top = element("tr", *(element("th", name, class_=kind) for name, kind in zip(head, kinds, strict=True)))
    body = (
        element("tr", *(element("td", cell, class_=kind) for cell, kind in zip(row, kinds, strict=True)))
        for row in rows
    )
    whole = element("table", element("thead", top), element("tbody", *body))
    # A wide one scrolls by itself, not the page.
    return element("div", whole, class_="wide")
