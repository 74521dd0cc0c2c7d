"""What a corpus needs to know of a task to turn raw rows into samples. Tasks implement it; see gb_ray/tasks."""

from __future__ import annotations

from typing import Any, Protocol

import pyarrow as pa


class Reject(Exception):
    """A row that cannot become a sample; the message is the reason written to quarantine."""


class Encoder(Protocol):
    """Raw row -> clean fields -> sample. Instances travel to workers: cheap to pickle, no open handles."""

    columns: list[str]
    """The columns every source must have."""

    fields: pa.Schema
    """Of a clean row."""

    samples: pa.Schema
    """Of what `encode` adds: `input_ids` (list<int32>) and the label columns."""

    def clean(self, row: dict[str, Any]) -> dict[str, Any]:
        """The fields of a row. Raises Reject."""

    def identity(self, fields: dict[str, Any]) -> str:
        """Two rows with the same identity are duplicates."""

    def stratum(self, fields: dict[str, Any]) -> str:
        """Splits keep the share of each stratum."""

    def labels_of(self, fields: dict[str, Any]) -> set[str]:
        """The labels a row uses."""

    def encode(self, rows: list[dict[str, Any]], labels: list[str]) -> dict[str, list[Any]]:
        """The sample columns of clean rows; `labels[i]` gets the number i."""

    def fingerprint(self) -> dict[str, Any]:
        """Everything that decides what `clean` and `encode` return (JSON)."""
