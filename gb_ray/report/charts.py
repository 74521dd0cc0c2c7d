"""Small charts as inline SVG: no script, and colours that follow the page's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gb_ray.measure.table import number
from gb_ray.report.markup import Markup, element, join

POINTS = 300
"""Of a curve at the most: means of as many steps each."""
DOTTED = 40
"""Points of a curve at the most that are marked one by one: of a single one there is no line."""
WIDE, HIGH = 340, 150
LEFT, RIGHT, TOP, BOTTOM = 44, 8, 8, 22


def curve(name: str, values: Sequence[float]) -> Markup:
    """A value a step; steps whose value is not a number leave a gap that the line passes over. 0 is on the axis."""
    whole = np.asarray(values, np.float64)
    steps = np.flatnonzero(np.isfinite(whole))
    parts = np.array_split(steps, max(1, min(POINTS, len(steps))))
    means = np.array([whole[part].mean() for part in parts if len(part)])
    steps = np.array([part[-1] for part in parts if len(part)])
    low, high = min([0.0, *means]), max([0.0, *means])
    high = high if high > low else low + 1
    x = LEFT + steps / max(1, len(whole) - 1) * (WIDE - LEFT - RIGHT)
    y = TOP + (high - means) / (high - low) * (HIGH - TOP - BOTTOM)
    points = [(f"{a:.1f}", f"{b:.1f}") for a, b in zip(x, y, strict=True)]
    line = element("polyline", points=" ".join(f"{a},{b}" for a, b in points), class_="line")
    dots = [element("circle", cx=a, cy=b, r=2, class_="dot") for a, b in points] if len(points) <= DOTTED else []
    marks = [_left(TOP, small(high)), _left(HIGH - BOTTOM, small(low)), _below(LEFT, "1", "start")]
    marks.append(_below(WIDE - RIGHT, f"step {len(whole):,}", "end"))
    return element("figure", element("figcaption", name), _svg(WIDE, HIGH, _floor(), line, *dots, *marks))


def span(before: float | None, value: float, ends: Sequence[float] | None) -> Markup:
    """On one scale: before as a ring, after as a dot, and its interval as a bar. Scales end at 1, or at the largest."""
    most = max([1.0, value, before or 0.0, *(ends or [])])
    least = min([0.0, value, before or 0.0, *(ends or [])])

    def at(one: float) -> str:
        return f"{6 + (one - least) / (most - least) * 148:.1f}"

    parts = [element("line", x1=6, x2=154, y1=9, y2=9, class_="rule")]
    if ends:
        parts.append(element("line", x1=at(ends[0]), x2=at(ends[1]), y1=9, y2=9, class_="bar"))
    if before is not None:
        parts.append(element("circle", cx=at(before), cy=9, r=3.5, class_="ring"))
    parts.append(element("circle", cx=at(value), cy=9, r=4, class_="dot"))
    return _svg(160, 18, *parts, class_="span")


def reliability(name: str, bins: list[dict[str, Any]]) -> Markup:
    """Accuracy over confidence; on the diagonal a model is as often right as it says."""
    side = 200

    def place(one: float, up: bool) -> float:
        return side - 24 - one * (side - 36) if up else 30 + one * (side - 36)

    def corner(one: float) -> dict[str, float]:
        return {"x": place(one, False), "y": place(one, True)}

    start, end = corner(0), corner(1)
    parts = [
        element("line", x1=start["x"], y1=start["y"], x2=end["x"], y2=end["y"], class_="rule"),
        element("line", x1=start["x"], y1=start["y"], x2=end["x"], y2=start["y"], class_="rule"),
        element("line", x1=start["x"], y1=start["y"], x2=start["x"], y2=end["y"], class_="rule"),
    ]
    for one in bins:
        x, y = place(one["confidence"], False), place(one["accuracy"], True)
        parts.append(element("line", x1=x, x2=x, y1=place(one["confidence"], True), y2=y, class_="gap"))
        parts.append(element("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=3.5, class_="dot"))
    for text, x, y, anchor in (
        ("0", start["x"], side - 8, "middle"),
        ("confidence", (start["x"] + end["x"]) / 2, side - 8, "middle"),
        ("1", end["x"], side - 8, "middle"),
        ("1", start["x"] - 6, end["y"] + 4, "end"),
        ("0", start["x"] - 6, start["y"] + 4, "end"),
    ):
        parts.append(element("text", text, x=x, y=y, text_anchor=anchor))
    return element("figure", element("figcaption", name), _svg(side, side, *parts))


def confusion(table: Sequence[Sequence[int]], labels: list[str]) -> Markup:
    """Rows are true, columns answered; a cell is as dark as its share of the row."""
    cell, edge = 26, 14 + 7 * max(map(len, labels))
    side = edge + cell * len(labels)
    parts: list[Markup] = []
    for row, counts in enumerate(table):
        y, total = edge + row * cell, max(1, sum(counts))
        parts.append(element("text", labels[row], x=edge - 6, y=y + cell / 2 + 4, text_anchor="end"))
        turned = f"translate({edge + row * cell + cell / 2 + 4} {edge - 6}) rotate(-90)"
        parts.append(element("text", labels[row], transform=turned))
        for column, count in enumerate(counts):
            x, share = edge + column * cell, count / total
            kind = "right" if row == column else "wrong"
            title = element("title", f"{labels[row]} answered as {labels[column]}: {count}")
            box = {"x": x + 1, "y": y + 1, "width": cell - 2, "height": cell - 2, "rx": 3}
            parts.append(element("rect", title, **box, class_=kind, fill_opacity=f"{0.06 + 0.8 * share:.2f}"))
            if count:
                place = {"x": x + cell / 2, "y": y + cell / 2 + 4, "text_anchor": "middle"}
                parts.append(element("text", count, **place, class_="on" if share > 0.4 else None))
    return _svg(side, side, *parts, class_="confusion")


def share(part: float, whole: float, kind: str = "") -> Markup:
    """A bar as long as the part."""
    width = 160 * part / whole if whole else 0.0
    return _svg(160, 12, element("rect", x=0, y=1, width=f"{width:.1f}", height=10, rx=2, class_=f"fill {kind}"))


def timeline(began: float, ended: float, attempts: list[tuple[float, float, bool]]) -> Markup:
    """Each attempt from when to when; one that did not end by itself is hatched by its colour."""
    wide, whole = 700, max(1e-9, ended - began)
    parts = [element("line", x1=0, x2=wide, y1=12, y2=12, class_="rule")]
    for number_, (start, end, done) in enumerate(attempts, start=1):
        x, length = (start - began) / whole * wide, max(1.0, (end - start) / whole * wide)
        title = element("title", f"attempt {number_}: {end - start:,.0f} s{'' if done else ', died'}")
        box = {"x": f"{x:.1f}", "y": 4, "width": f"{length:.1f}", "height": 16, "rx": 2}
        parts.append(element("rect", title, **box, class_="fill" if done else "fill bad"))
    parts += [element("text", "0 s", x=0, y=36), element("text", f"{whole:,.0f} s", x=wide, y=36, text_anchor="end")]
    return _svg(wide, 40, *parts)


def small(value: float) -> str:
    """A number beside an axis."""
    if value == 0:
        return "0"
    return number(value) if abs(value) >= 0.01 else f"{value:.0e}"


def _svg(wide: float, high: float, *parts: Markup, class_: str | None = None) -> Markup:
    return element("svg", join(parts), viewBox=f"0 0 {wide:g} {high:g}", width=f"{wide:g}", role="img", class_=class_)


def _floor() -> Markup:
    return element("line", x1=LEFT, x2=WIDE - RIGHT, y1=HIGH - BOTTOM, y2=HIGH - BOTTOM, class_="rule")


def _left(y: float, text: str) -> Markup:
    return element("text", text, x=LEFT - 6, y=y + 4, text_anchor="end")


def _below(x: float, text: str, anchor: str) -> Markup:
    return element("text", text, x=x, y=HIGH - 6, text_anchor=anchor)
