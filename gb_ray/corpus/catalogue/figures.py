"""Numbers, texts and tables as a person reads them, on a terminal and in the data card."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len, set_cell_size

WIDTH = 100
"""Columns of a terminal that every account keeps within."""
BAR = 40
_SHOWN_FORMATS = "\u200c\u200d"
"""Marks that join letters or keep them apart: without them Persian and Hindi words and some emoji fall to pieces."""


def size(count: int) -> str:
    """Bytes with three digits and a unit of 1000."""
    value, units = float(count), iter(("B", "kB", "MB", "GB", "TB"))
    unit = next(units)
    while value >= 999.5 and unit != "TB":
        value, unit = value / 1000, next(units)
    return f"{value:.3g} {unit}" if value < 999.5 else f"{value:,.0f} {unit}"


def visible(text: str) -> str:
    """The text on one line, with escapes for what would steer a terminal or turn the direction of what follows."""
    shown = (c if c.isprintable() or c in _SHOWN_FORMATS else c.encode("unicode_escape").decode() for c in text)
    return "".join(shown)


def cut(text: str, width: int) -> str:
    """The text on one line, at most `width` columns of a terminal wide."""
    line = visible(" ".join(text[: 4 * width].split()))
    whole = cell_len(line) <= width and len(text) <= 4 * width
    return line if whole else set_cell_size(line, min(width - 1, cell_len(line))).rstrip() + "…"


def columns(rows: Sequence[Sequence[str]], numbers: bool = True) -> list[str]:
    """A table: the first column to the left, the others to the right, or with `numbers` false all to the left."""
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(_padded(row, widths, numbers)).rstrip() for row in rows]


def _padded(row: Sequence[str], widths: list[int], numbers: bool) -> Iterator[str]:
    for place, (cell, width) in enumerate(zip(row, widths, strict=True)):
        gap = " " * (width - cell_len(cell))
        yield gap + cell if numbers and place else cell + gap


def histogram(lengths: Sequence[int]) -> list[str]:
    """One bar for each power of two of `SplitEntry.lengths`, from the first that is not empty."""
    most = max(lengths, default=0)
    first = next((power for power, count in enumerate(lengths) if count), 0)
    shown = list(enumerate(lengths))[first:]
    rows = [[f"{2**power:,} to {2 ** (power + 1) - 1:,}", f"{count:,}"] for power, count in shown]
    if not rows:
        return []
    bars = ["█" * round(BAR * count / most) or ("▏" if count else "") for _, count in shown]
    width = max(len(tokens) for tokens, _ in rows)
    counts = max(len(count) for _, count in rows)
    return [
        f"{tokens:>{width}} tokens  {count:>{counts}}  {bar}".rstrip()
        for (tokens, count), bar in zip(rows, bars, strict=True)
    ]
