"""The Ray Serve application: `import_path: gb_ray.serve.app:build` in a Serve config file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from fastapi import FastAPI
from pydantic import ValidationError, field_validator
from ray import serve
from ray.serve.config import AutoscalingConfig, BackpressureConfig
from ray.serve.schema import LoggingConfig

from gb_ray.section import Section, UserError, explain
from gb_ray.serve.routes import make_app
from gb_ray.serve.section import ServeSection
from gb_ray.serve.service import Service
from gb_ray.serve.source import RegistrySource

# Beyond the requests that the replica itself counts, so that its own 429, a problem document, comes first.
_HEADROOM = 32
_TARGET_ONGOING = 8

QUIET = LoggingConfig(log_level="WARNING", enable_access_log=False)


class Arguments(Section):
    """What `build` is given."""

    model: str
    home: Path
    tracking: str | None = None
    serve: ServeSection = ServeSection()

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        if not home.is_absolute():
            raise ValueError("expected an absolute path: a replica runs in another folder, perhaps on another node")
        return home

    @field_validator("model")
    @classmethod
    def _known(cls, model: str) -> str:
        if not (model.startswith("models:/") or Path(model).is_absolute()):
            raise ValueError("expected models:/NAME@ALIAS, models:/NAME/VERSION or the absolute path of a directory")
        return model

    def source(self) -> RegistrySource:
        """Where the model comes from."""
        return RegistrySource(self.model, self.home, self.tracking)


@serve.ingress()
class Replica:
    """One process that answers, with one model and one thread of compute."""

    async def __init__(self, args: dict[str, Any]):  # type: ignore[misc]  # Serve awaits it
        # A replica has one CPU; torch and the tokenizer would take all there are.
        torch.set_num_threads(1)
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        arguments = Arguments.model_validate(args)
        self.service = Service(arguments.source(), arguments.serve)
        await self.service.start()

    def __serve_build_asgi_app__(self) -> FastAPI:
        return make_app(self.service)


def build(args: dict[str, Any]) -> serve.Application:
    """The application that serves `args`: model, home, and optionally tracking and serve (see Arguments).

    Raises UserError naming the wrong key.
    """
    try:
        arguments = Arguments.model_validate(args)
    except ValidationError as error:
        raise UserError(explain(error, Arguments, "serve arguments")) from None
    replica = serve.deployment(Replica, name="endpoint", **_options(arguments.serve))
    return replica.bind(arguments.model_dump(mode="json"))


def _options(section: ServeSection) -> dict[str, Any]:
    return {
        "autoscaling_config": AutoscalingConfig(
            min_replicas=section.min_replicas,
            max_replicas=section.max_replicas,
            target_ongoing_requests=_TARGET_ONGOING,
        ),
        "max_ongoing_requests": section.max_queued + _HEADROOM,
        "max_queued_requests": section.max_queued,
        "backpressure_config": BackpressureConfig(status_code=429, retry_after_s=1),
        "ray_actor_options": {"num_cpus": 1},
        # A model that cannot be loaded once is not loaded the twentieth time either.
        "max_constructor_retry_count": 2,
        "logging_config": QUIET,
    }
