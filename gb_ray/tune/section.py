"""The `search:` section of a recipe."""

from typing import Any

from pydantic import Field, model_validator

from gb_ray.section import Section


class Values(Section):
    """The values a key may take: exactly one of the three."""

    log: tuple[float, float] | None = Field(None, description="Between two positive numbers, even in the logarithm.")
    uniform: tuple[float, float] | None = Field(None, description="Between two numbers, even.")
    choice: list[Any] | None = Field(None, min_length=1, description="One of these.")

    @model_validator(mode="after")
    def _is_one(self) -> "Values":
        if sum(kind is not None for kind in (self.log, self.uniform, self.choice)) != 1:
            raise ValueError("expected exactly one of log, uniform and choice")
        for low, high in filter(None, (self.log, self.uniform)):
            if low >= high or (self.log and low <= 0):
                raise ValueError("expected [low, high] with low < high; for log also 0 < low")
        return self

    @property
    def ends(self) -> list[Any]:
        """The values by which a recipe shows whether it takes them all."""
        return list(self.choice or self.log or self.uniform or ())


class AshaSection(Section):
    """When a trial ends early (https://arxiv.org/abs/1810.05934)."""

    grace: int = Field(1, ge=1, description="Epochs that every trial gets.")
    factor: int = Field(3, ge=2, description="Of the trials at a rung, one in so many goes on.")


class SearchSection(Section):
    """What `gb tune` tries; nothing else reads it."""

    metric: str | None = Field(None, description="Of the validation split; absent, the task's first.")
    trials: int = Field(16, ge=1)
    parallel: int = Field(1, ge=1, description="Trials at once, one process and one CPU each.")
    space: dict[str, Values] = Field(min_length=1, description="Keys of train and model, such as train.lr.")
    asha: AshaSection = AshaSection()
