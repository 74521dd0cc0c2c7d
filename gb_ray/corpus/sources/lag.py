"""Columns with what was before: the value that the row of some time earlier has, in the same series.

A series is the rows of all the files of a source that its `where` keeps, one a time: which row was before is decided
by times alone, not by the order of rows or by how files are cut.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gb_ray.corpus.encoder import Reject
from gb_ray.corpus.section import Lag
from gb_ray.corpus.sources.formats.piece import Row
from gb_ray.corpus.sources.moment import moment
from gb_ray.corpus.sources.source import OpenSource
from gb_ray.section import UserError

GRAIN = 1e6
"""Times are the same when they are to a millionth of their unit: 0.3 less 0.1 must be found at 0.2."""


@dataclass(frozen=True)
class Series:
    """`values[i]`, as its file has it, is of the time `times[i]`: float64, rising, in millionths of a unit."""

    times: NDArray[np.float64]
    values: list[Any]

    def at(self, time: float) -> Any:
        """The value at a time in its unit; None where no row has that time."""
        grain = np.rint(time * GRAIN)
        place = int(np.searchsorted(self.times, grain))
        return self.values[place] if place < len(self.times) and self.times[place] == grain else None


@dataclass(frozen=True)
class Lags:
    """The lags of a source by name, and the series of each (column, by) that they look into."""

    lags: dict[str, Lag]
    series: dict[tuple[str, str], Series]

    @classmethod
    def of(cls, source: OpenSource) -> Lags:
        """Those of a source. Raises UserError when two rows of a series have the same time.

        It costs one more reading of all the source's files wherever a piece of it is read, and holds for each
        (column, by) 16 bytes a row beside the values: 40 in all where they are numbers. Without lags nothing is read.
        """
        lags = source.section.lags
        found = {(lag.column, lag.by): (array("d"), list[Any]()) for lag in lags.values()}
        for _, _, row in _kept(source) if found else ():
            for (column, by), (times, values) in found.items():
                with suppress(Reject):  # a row without a time is before none
                    times.append(_grain(row, by))
                    values.append(row.get(column))
        return cls(lags, {key: _series(source, key[1], *gathered) for key, gathered in found.items()})

    def added(self, row: Row) -> Row:
        """The row with the value of each lag, None where there is none. Raises Reject.

        That is for a row without a time, and for one with a column of a lag's name, which only a file of JSON lines or
        of a bucket can have: not all of it is looked at before the build.
        """
        if not self.lags:  # most sources have none, and every row comes by here
            return row
        found = dict(row)
        for name, lag in self.lags.items():
            if name in row:
                raise Reject(f"{name} is in lags: and in the row")
            found[name] = self.series[lag.column, lag.by].at(moment(row.get(lag.by), lag.by) - lag.back)
        return found


def _kept(source: OpenSource) -> Iterator[tuple[str, int, Row]]:
    """(file, number in it, row) of the source's series, as `where` keeps them."""
    for piece in source.pieces():
        for number, row in source.rows(piece):
            if not isinstance(row, Reject) and source.wanted(row):
                yield piece.opened.input.file.uri, number, row


def _grain(row: Row, by: str) -> float:
    return float(np.rint(moment(row.get(by), by) * GRAIN))


def _series(source: OpenSource, by: str, times: array[float], values: list[Any]) -> Series:
    found = np.asarray(times, np.float64)
    order = np.argsort(found)
    found = found[order]
    same = np.flatnonzero(found[1:] == found[:-1])
    if len(same):
        raise _ambiguous(source, by, float(found[same[0]]))
    return Series(found, [values[i] for i in order])


def _ambiguous(source: OpenSource, by: str, grain: float) -> UserError:
    """Looks for the rows once more: remembering where each is would cost every build that has no such rows."""
    found = []
    for file, number, row in _kept(source):
        with suppress(Reject):
            if _grain(row, by) == grain:
                found.append((file, number, row[by]))
    (first, one, _), (file, other, time) = found[:2]
    return UserError(
        f"{file}: row {other}: lags: its {by} is {time}, as in row {one} of {first}; a time may be there once. "
        "Narrow `where` to one series, and give each other series a source of its own"
    )
