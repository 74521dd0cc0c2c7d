"""The words around a sentence: those of the rows beside it in its document, as rows come in the order of their file."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

Row = dict[str, Any]


class Neighbours:
    """Gives each row up to `context` words (1 or more) of the rows before and after it.

    Rows are added in the order of their file, each with the run that it belongs to: rows one after another with an
    equal run are each other's neighbours. A row waits here until the words after it are known, so that no more than
    `context` rows are held, however long a document is and however its rows come in.
    """

    def __init__(self, context: int):
        self.context = context
        self._run: Hashable = None
        self._before: list[str] = []
        self._waiting: list[Row] = []

    def add(self, row: Row, run: Hashable) -> list[Row]:
        """The rows, in order, that need no more: with `before` and `after` (lists of text) beside their `tokens`."""
        done = [] if run == self._run else self.end()
        self._run = run
        words: list[str] = row["tokens"]
        for waiting in self._waiting:
            waiting["after"] += words[: self.context - len(waiting["after"])]
        self._waiting.append(row | {"before": self._before, "after": []})
        self._before = [*self._before, *words][-self.context :]
        # The earlier a row came, the more words it has after it.
        full = sum(len(waiting["after"]) == self.context for waiting in self._waiting)
        done += self._waiting[:full]
        self._waiting = self._waiting[full:]
        return done

    def end(self) -> list[Row]:
        """The rows that still wait: no more words come after them, and what comes next has none of them before it."""
        done, self._waiting, self._before = self._waiting, [], []
        return done
