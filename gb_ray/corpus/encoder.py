"""What a corpus needs to know of a task to turn raw rows into samples. Tasks implement it; see gb_ray/tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, Self

import pyarrow as pa

Fields = dict[str, Any]
"""A clean row: what `Encoder.fields` says."""


class Reject(Exception):
    """A row that cannot become a sample; the message is the reason written to quarantine."""


class Encoder(Protocol):
    """Raw row -> clean fields -> sample. Instances travel to workers: cheap to pickle, no open handles."""

    columns: list[str]
    """The columns every source must have."""

    @property
    def text_columns(self) -> list[str]:
        """Those of the columns that hold text: strings, or lists and mappings of strings."""

    chooses_one: bool
    """Whether every answer is one of the labels: with a single label there is nothing to learn."""

    @property
    def balance(self) -> float:
        """How far an epoch evens out labels, 0 to 1. Above 0 the column `label` has one label's number a sample."""

    @property
    def context(self) -> int:
        """Words of its neighbours that a row gets on either side; above 0 its fields have `tokens`, `before`, `after`.

        All three are lists of text; `clean` leaves the last two empty, and the build fills them from cleaned rows.
        """

    @property
    def document(self) -> str | None:
        """That of the columns that tells documents apart: rows of two are no neighbours. None: a file is one."""

    fields: pa.Schema
    """Of a clean row."""

    samples: pa.Schema
    """Of what `encode` adds: `input_ids` (list<int32>) and the label columns."""

    def ready(self) -> Self:
        """The same with all that `encode` loads in it, so that workers need not load it."""

    def clean(self, row: dict[str, Any]) -> Fields:
        """The fields of a row. Raises Reject."""

    def text(self, fields: Fields) -> str:
        """The text by which a row's language, quality and near duplicates are judged."""

    def with_text(self, fields: Fields, change: Callable[[str], str]) -> Fields:
        """The fields with every text passed through `change`."""

    def identity(self, fields: Fields) -> str:
        """Two rows with the same identity are duplicates."""

    def stratum(self, fields: Fields) -> str:
        """Stratified splits keep the share of each stratum."""

    def labels_of(self, fields: Fields) -> set[str]:
        """The labels a row uses."""

    def encode(self, rows: list[Fields], labels: list[str]) -> dict[str, Any]:
        """The sample columns of clean rows (lists or Arrow arrays); `labels[i]` gets the number i."""

    def fingerprint(self) -> dict[str, Any]:
        """Everything that decides what `clean` and `encode` return (JSON)."""
