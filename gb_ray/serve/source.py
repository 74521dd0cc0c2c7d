"""Models from the registry, or from a directory."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from gb_ray.model.predictor import Predictor
from gb_ray.registry import records, versions
from gb_ray.registry.ledger import Ledger
from gb_ray.registry.tracking import Tracking
from gb_ray.section import UserError
from gb_ray.serve.follow import Version


class RegistrySource:
    """The model that `uri` names: models:/NAME@ALIAS (followed), models:/NAME/VERSION, or an exported directory."""

    def __init__(self, uri: str, home: Path, tracking: str | None):
        self._uri, self._home, self._tracking_uri = uri, home, tracking

    def head(self) -> str | None:
        """The head of the ledger that moves the alias, or where MLflow has an alias that has no ledger.

        None for what cannot move.
        """
        name, _, alias = self._uri.removeprefix("models:/").partition("@")
        if not (self._uri.startswith("models:/") and alias):
            return None
        if alias in versions.LEDGER_ALIASES:
            return Ledger(self._home, name).head()
        return records.aliased(self._tracking, name, alias)

    def resolve(self) -> Version:
        """The version that the uri names now. Raises UserError when there is none."""
        return versions.resolve(self._tracking, self._home, self._uri)

    def load(self, version: Any) -> Predictor:
        """The model in `version.path`, after it has answered one text.

        Raises UserError when the directory's manifest is of other weights than the registry says.
        """
        predictor = Predictor(version.path)
        found = predictor.manifest["weights_sha256"]
        if found != version.weights_sha256:
            raise UserError(
                f"{version.path}: gb_model.json is of weights {found}, the registry expects {version.weights_sha256} "
                f"for {version.uri}; restore the directory, or promote another version"
            )
        predictor.predict(predictor.encode(["."]))
        return predictor

    @cached_property
    def _tracking(self) -> Tracking:
        return Tracking.open(self._home, self._tracking_uri)
