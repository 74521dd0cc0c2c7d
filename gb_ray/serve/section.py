"""The `serve:` section of a recipe."""

from __future__ import annotations

from pydantic import Field, model_validator

from gb_ray.section import Section


class ServeSection(Section):
    """How the endpoint listens, scales, batches and refuses."""

    host: str = Field("127.0.0.1", description="Loopback unless you say otherwise.")
    port: int = Field(8000, ge=1, le=65535)
    min_replicas: int = Field(1, ge=1)
    max_replicas: int = Field(1, ge=1)
    batch_tokens: int = Field(4096, ge=1, description="Tokens, padding included, of one batch.")
    max_texts: int = Field(256, ge=1, description="Texts a request.")
    max_chars: int = Field(50_000, ge=1, description="Characters a text; a longer one is refused with 422.")
    max_body: int = Field(1_000_000, ge=1, description="Bytes a request; a larger one is refused with 413.")
    max_queued: int = Field(200, ge=1, description="Unanswered requests a replica holds; one more is answered 429.")
    poll_s: float = Field(2.0, gt=0, description="Seconds between looks at the alias.")

    @model_validator(mode="after")
    def _least_and_most(self) -> ServeSection:
        if self.max_replicas < self.min_replicas:
            raise ValueError(f"max_replicas ({self.max_replicas}) is less than min_replicas ({self.min_replicas})")
        return self
