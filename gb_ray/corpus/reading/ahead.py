"""The windows of one lane that are in memory: the one that is read, and the one after it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from gb_ray.corpus.manifest import Shard
from gb_ray.corpus.reading.fetch import fetch
from gb_ray.corpus.reading.loader import Loader
from gb_ray.corpus.reading.order import Ints, Order, Window

Key = tuple[int, ...]
"""The shards of a window in order of their numbers, which is how they lie in its table, in whatever pass."""


class Ahead:
    """One lane of one stratum. Rows are numbered as a pass takes them, passes from 0 without end."""

    def __init__(self, folder: Path | str, shards: list[Shard], order: Order, lane: int):
        self._folder, self._shards, self._order, self._lane = folder, shards, order, lane
        self._held: dict[Key, Future[pa.Table]] = {}
        self._current: Window | None = None

    def begin(self, loader: Loader, number: int, row: int) -> None:
        """Ask for the window with this row of pass `number` if it was not asked for."""
        window = self._window(number, int(self._order.windows(number, self._lane, np.array([row]))[0]))
        if not self._is_held(_key(window)):
            self._hold(loader, window)

    def take(self, loader: Loader, number: int, rows: Ints) -> Iterator[tuple[Ints, pa.Table]]:
        """(places in `rows`, the samples there) for each window that has some of these rows of pass `number`."""
        windows = self._order.windows(number, self._lane, rows)
        for each in np.unique(windows).tolist():
            places = np.flatnonzero(windows == each)
            window = self._window(number, each)
            self._hold(loader, window, self._after(window))
            table = self._held[_key(window)].result()
            shards, inside = window.locate(rows[places])
            # Only the lane's last shard may be short, and no shard lies behind it.
            first = np.searchsorted(_key(window), shards) * self._order.shard_rows
            yield places, table.take(pa.array(first + inside))

    def _window(self, number: int, window: int) -> Window:
        """Kept while it is read: shuffling its rows costs a sort."""
        if self._current is None or (self._current.number, self._current.window) != (number, window):
            self._current = self._order.window(number, self._lane, window)
        return self._current

    def _after(self, window: Window) -> Window:
        if window.window + 1 < self._order.lane_windows(self._lane):
            return self._order.window(window.number, self._lane, window.window + 1)
        return self._order.window(window.number + 1, self._lane, 0)

    def _hold(self, loader: Loader, *windows: Window) -> None:
        keys = dict.fromkeys(map(_key, windows))
        for key in self._held.keys() - keys.keys():
            self._held.pop(key).cancel()
        for key in keys:
            if not self._is_held(key):
                self._held[key] = loader.submit(partial(_load, self._folder, [self._shards[i] for i in key]))

    def _is_held(self, key: Key) -> bool:
        """What failed is to be tried again by whoever asks again."""
        future = self._held.get(key)
        return future is not None and not (future.done() and (future.cancelled() or future.exception()))


def _key(window: Window) -> Key:
    return tuple(sorted(window.shards.tolist()))


def _load(folder: Path | str, shards: list[Shard]) -> pa.Table:
    return pa.concat_tables([fetch(folder, shard) for shard in shards]).combine_chunks()
