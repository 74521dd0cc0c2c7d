"""The optional cleaning of rows, step by step, with a count of what each step did.

    row ─▶ repair ─▶ quality ─▶ the task's own checks, white space folded ─▶ length ─▶ language ─▶ personal data

What looks at lines or at single characters comes before white space is folded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from gb_ray.corpus.encoder import Encoder, Fields, Reject
from gb_ray.corpus.section import Clean


class Dropped(Exception):
    """A usable row that the recipe's limits leave out; the message is the reason."""


@dataclass
class Counts:
    """What the steps did: rows whose text was repaired, and personal data masked by kind."""

    repaired: int = 0
    masked: Counter[str] = field(default_factory=Counter)


ROLE = "role"
"""The key of a chat's message that is not text."""

Row = dict[str, Any]
Outcome = tuple[Fields, str | None] | Reject | Dropped
"""A row's fields and the language of its text, or why it left."""


class Cleaner:
    """Cleans the rows of one source; `known` is their language when the source says it."""

    def __init__(self, section: Clean, encoder: Encoder, known: str | None):
        self.section, self.encoder, self.known = section, encoder, known
        self.counts = Counts()

    def clean(self, rows: list[Row]) -> list[Outcome]:
        """The outcome of each row, in order. Rows have the task's columns."""
        outcomes = [self._one(row) for row in rows]
        if self.known is None and (self.section.identify or self.section.languages):
            outcomes = list(self._identify(outcomes))
        if self.section.languages:
            outcomes = [self._wanted(outcome, self.section.languages) for outcome in outcomes]
        if self.section.personal:
            outcomes = [self._mask(outcome) for outcome in outcomes]
        return outcomes

    def _one(self, row: Row) -> Outcome:
        """The steps that look at one row alone."""
        try:
            if self.section.repair:
                row = self._repair(row)
            if self.section.quality:
                self._judge(row)
            fields = self.encoder.clean(row)
            limit = self.section.max_chars
            if limit and len(self.encoder.text(fields)) > limit:
                raise Dropped(f"over {limit} characters")
        except (Reject, Dropped) as why:
            return why
        return fields, self.known

    def _repair(self, row: Row) -> Row:
        from gb_ray.corpus.clean.unicode import repair  # each step's library is loaded where it is asked for

        repaired = row | {column: _each(row[column], repair) for column in self.encoder.text_columns}
        self.counts.repaired += repaired != row
        return repaired

    def _judge(self, row: Row) -> None:
        from gb_ray.corpus.clean.quality import problem

        assert self.section.quality
        texts = [text for column in self.encoder.text_columns for text in _all(row[column])]
        if found := problem("\n".join(texts), self.section.quality):
            raise Dropped(f"quality: {found}")

    def _identify(self, outcomes: list[Outcome]) -> Iterator[Outcome]:
        from gb_ray.corpus.clean.language import UNDETERMINED, identify

        texts = [self.encoder.text(outcome[0]) for outcome in outcomes if isinstance(outcome, tuple)]
        found = iter(identify(texts))
        for outcome in outcomes:
            if isinstance(outcome, tuple):
                name, confidence = next(found)
                yield outcome[0], name if confidence >= self.section.confidence else UNDETERMINED
            else:
                yield outcome

    def _wanted(self, outcome: Outcome, languages: list[str]) -> Outcome:
        if isinstance(outcome, tuple) and outcome[1] not in languages:
            return Dropped(f"language {outcome[1]}")
        return outcome

    def _mask(self, outcome: Outcome) -> Outcome:
        if not isinstance(outcome, tuple):
            return outcome
        from gb_ray.corpus.clean.personal.masker import Masker

        def change(text: str) -> str:
            masked, found = masker.mask(text)
            self.counts.masked += found
            return masked

        masker = Masker()
        return self.encoder.with_text(outcome[0], change), outcome[1]


def _each(value: Any, change: Any) -> Any:
    """The value with every string in it changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_each(one, change) for one in value]
    if isinstance(value, dict):
        return {key: one if key == ROLE else _each(one, change) for key, one in value.items()}
    return value


def _all(value: Any) -> Iterator[str]:
    """Every string in a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for one in (text for key, text in value.items() if key != ROLE) if isinstance(value, dict) else value:
            yield from _all(one)
