"""What MLflow's registry holds about a model: its versions and their aliases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gb_ray.registry.tracking import Tracking
from gb_ray.section import UserError

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion


def create(tracking: Tracking, name: str, logged: LoggedModel, tags: dict[str, str]) -> ModelVersion:
    """Make the logged model the next version of `name`."""
    from mlflow.exceptions import MlflowException

    try:
        tracking.client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    # Not models:/ID as the source: MLflow looks that up in its global store, whichever client asks.
    return tracking.client.create_model_version(
        name, logged.artifact_location, run_id=logged.source_run_id, tags=tags, model_id=logged.model_id
    )


def versions(tracking: Tracking, name: str) -> list[ModelVersion]:
    """All versions of a model, newest first."""
    return list(tracking.client.search_model_versions(f"name = '{name}'", order_by=["version_number DESC"]))


def find(tracking: Tracking, name: str, run_id: str, weights_sha256: str) -> ModelVersion | None:
    """The version that this run registered with these weights, when there is one."""
    wanted = {"run_id": run_id, "weights_sha256": weights_sha256}
    found = (record for record in versions(tracking, name) if wanted.items() <= record.tags.items())
    return next(found, None)


def record(tracking: Tracking, name: str, number: str) -> ModelVersion:
    """One version. Raises UserError, listing the versions, when there is no such one."""
    from mlflow.exceptions import MlflowException

    try:
        return tracking.client.get_model_version(name, number)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise UserError(f"models:/{name}/{number}: no such version; {listed(tracking, name)}") from None


def aliases(tracking: Tracking, name: str) -> dict[str, str]:
    """Version by alias. Raises UserError, listing the models, when there is no such model."""
    from mlflow.exceptions import MlflowException

    try:
        found = tracking.client.get_registered_model(name).aliases
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        known = ", ".join(sorted(model.name for model in tracking.client.search_registered_models())) or "none"
        raise UserError(f"model {name!r}: not registered at {tracking.shown}; registered: {known}") from None
    return {alias: str(version) for alias, version in found.items()}


def aliased(tracking: Tracking, name: str, alias: str) -> str:
    """The version that an alias points at. Raises UserError, listing the aliases, when there is no such one."""
    found = aliases(tracking, name).get(alias)
    if found is None:
        raise UserError(f"models:/{name}@{alias}: no such alias; {listed(tracking, name)}")
    return found


def listed(tracking: Tracking, name: str) -> str:
    """The versions and aliases there are, for a message."""
    known = ", ".join(f"{alias} -> {version}" for alias, version in sorted(aliases(tracking, name).items()))
    numbers = ", ".join(str(version.version) for version in versions(tracking, name))
    return f"versions: {numbers or 'none'}; aliases: {known or 'none'}"
