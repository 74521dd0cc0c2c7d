"""The trials of a search as one SVG file: how each came along, and what each value led to."""

from __future__ import annotations

from math import log10
from typing import Any

from gb_ray.report.markup import Markup, element, join
from gb_ray.tune.ledger import Trial
from gb_ray.tune.section import SearchSection, Values
from gb_ray.tune.space import text

STYLE = """svg { background: #fdfdfc; } text { font: 11px system-ui, sans-serif; fill: #666d76; }
.title { font-size: 13px; fill: #1c1f23; } .rule { stroke: #dcdfe3; }
.line { fill: none; stroke: #1f6f8b; opacity: 0.45; } .line.best { stroke: #b4502f; stroke-width: 2.5; opacity: 1; }
.dot { fill: #1f6f8b; } .dot.best { fill: #b4502f; } .ring { fill: #fdfdfc; stroke: #1f6f8b; }"""
WIDE, HIGH, EDGE = 340, 240, 46


def chart(trials: list[Trial], section: SearchSection, metric: str) -> str:
    """`trials` best first. Rings are trials that ended early; the best one stands out."""
    measured = [trial for trial in trials if trial.curve]
    values = [mark.metrics[metric] for trial in measured for mark in trial.curve]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    scale = low, high if high > low else low + 1
    panels = [_curves(measured, metric, scale)]
    panels += [_scatter(measured, key, one, metric, scale) for key, one in section.space.items()]
    placed = [element("g", panel, transform=f"translate({i * WIDE} 0)") for i, panel in enumerate(panels)]
    wide = WIDE * len(panels)
    whole = element(
        "svg", element("style", Markup(STYLE)), join(placed), xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {wide} {HIGH}", width=wide, height=HIGH,
    )  # fmt: skip
    return str(whole)


def _curves(trials: list[Trial], metric: str, scale: tuple[float, float]) -> Markup:
    parts = []
    for trial in reversed(trials):  # the best one is drawn last, above the others
        best = " best" if trial is trials[0] else ""
        points = [(_across(mark.steps / trial.total), _up(mark.metrics[metric], scale)) for mark in trial.curve]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts += [element("polyline", points=line, class_=f"line{best}"), _end(trial, *points[-1], bool(best))]
    return _panel(f"{metric} of validation, over the share of steps", scale, "0", "1", parts)


def _scatter(trials: list[Trial], key: str, values: Values, metric: str, scale: tuple[float, float]) -> Markup:
    choices = values.choice
    names = [text(choice) for choice in choices] if choices is not None else []

    def share(value: Any) -> float:
        if choices is not None:
            return (names.index(text(value)) + 0.5) / len(names)
        if values.log:
            return log10(value / values.log[0]) / log10(values.log[1] / values.log[0])
        start, end = values.ends
        return (float(value) - start) / (end - start)

    parts = [
        _end(trial, _across(share(trial.values[key])), _up(trial.curve[-1].metrics[metric], scale), trial is trials[0])
        for trial in reversed(trials)
    ]
    if choices is not None:
        places = [(_across((i + 0.5) / len(names)), name) for i, name in enumerate(names)]
        parts += [element("text", name, x=f"{x:.1f}", y=HIGH - 14, text_anchor="middle") for x, name in places]
        return _panel(key, scale, "", "", parts)
    start, end = values.ends
    return _panel(f"{key}, in the logarithm" if values.log else key, scale, f"{start:g}", f"{end:g}", parts)


def _end(trial: Trial, x: float, y: float, best: bool) -> Markup:
    shown = ", ".join(f"{key} {value}" for key, value in trial.values.items())
    kind = "dot best" if best else "dot" if trial.ended == "full" else "ring"
    about = element("title", f"trial {trial.number}: {shown}")
    return element("circle", about, cx=f"{x:.1f}", cy=f"{y:.1f}", r=5 if best else 3.5, class_=kind)


def _panel(title: str, scale: tuple[float, float], first: str, last: str, parts: list[Markup]) -> Markup:
    floor = HIGH - 30
    frame = [
        element("text", title, x=EDGE, y=16, class_="title"),
        element("line", x1=EDGE, x2=WIDE - 12, y1=floor, y2=floor, class_="rule"),
        element("text", f"{scale[1]:.3g}", x=EDGE - 6, y=34, text_anchor="end"),
        element("text", f"{scale[0]:.3g}", x=EDGE - 6, y=floor + 4, text_anchor="end"),
        element("text", first, x=EDGE, y=HIGH - 14),
        element("text", last, x=WIDE - 12, y=HIGH - 14, text_anchor="end"),
    ]
    return join([*frame, *parts])


def _across(share: float) -> float:
    return EDGE + share * (WIDE - 12 - EDGE)


def _up(value: float, scale: tuple[float, float]) -> float:
    return 30 + (scale[1] - value) / (scale[1] - scale[0]) * (HIGH - 60)
