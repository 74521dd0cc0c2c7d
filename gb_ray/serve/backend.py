"""What the endpoint asks of a model."""

from __future__ import annotations

from typing import Any, Protocol


class Encoded(Protocol):
    """A text as the model reads it."""

    @property
    def input_ids(self) -> list[int]: ...


class Backend(Protocol):
    """A model ready to answer; `gb_ray.model.predictor.Predictor` is one."""

    @property
    def manifest(self) -> dict[str, Any]:
        """The content of the exported directory's gb_model.json."""

    def encode(self, texts: list[str]) -> list[Any]:
        """One Encoded a text, in order."""

    def predict(self, encoded: list[Any]) -> list[dict[str, Any]]:
        """One answer an encoded text, in order."""
