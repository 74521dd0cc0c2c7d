"""Less memory for more time: a layer's input is kept, and the rest of it computed again on the way back."""

from __future__ import annotations

from typing import Any

from gb_ray.section import UserError


def recompute(model: Any) -> None:
    """Make the model do so (https://arxiv.org/abs/1604.06174). Raises UserError for an architecture that cannot."""
    if not model.supports_gradient_checkpointing:
        raise UserError(f"train.recompute: {type(model).__name__} cannot; set train.recompute=false")
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
