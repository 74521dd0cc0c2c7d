"""The bodies of the endpoint's responses."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class ModelIdentity(BaseModel):
    """The version that made an answer."""

    name: str
    version: str | None = Field(description="Null when the model is served from a directory, not from the registry.")
    weights_sha256: str


class Answers(BaseModel):
    """The response to a predict request."""

    model: ModelIdentity
    answers: list[dict[str, Any]] = Field(
        description="One a text, in order: label or labels and probabilities, entities, values, embedding or text, "
        "as the task has it; of a model of several tasks, that of each task under its name."
    )


class ServedModel(ModelIdentity):
    """A model of this endpoint."""

    uri: str = Field(description="What was asked to be served, or what it was resolved to.")
    tasks: dict[str, Any] = Field(description="name: its type and labels.")
    problem: str | None = Field(description="Why the version the alias names is not the one that answers.")


class Models(BaseModel):
    """The models of this endpoint."""

    models: list[ServedModel]


class Health(BaseModel):
    """A model is loaded and answers."""

    status: str = "ok"
    model: ModelIdentity
