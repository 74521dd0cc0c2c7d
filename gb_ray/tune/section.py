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
    def samples(self) -> list[Any]:
        """Values by which a recipe shows whether it takes them all: of a range its ends, and one that is not whole."""
        if self.choice is not None:
            return self.choice
        low, high = self.log or self.uniform or (0.0, 1.0)
        return [low, high, low + (high - low) / 3**0.5]


class AshaSection(Section):
    """When a trial ends early (https://arxiv.org/abs/1810.05934)."""

    grace: int = Field(1, ge=1, description="Marks that every trial gets.")
    factor: int = Field(4, ge=2, description="Of the trials at a rung, one in so many goes on.")


class SearchSection(Section):
    """What `gb tune` tries; nothing else reads it."""

    metric: str | None = Field(None, description="Of the validation split, as TASK.METRIC if there are several tasks.")
    trials: int = Field(16, ge=1)
    parallel: int = Field(1, ge=1, description="Trials at once: a process, a CPU and maybe a GPU each.")
    marks: int = Field(9, ge=1, description="Times that a trial is measured, evenly over its steps.")
    space: dict[str, Values] = Field(min_length=1, description="Keys of train, model and tasks, such as train.lr.")
    asha: AshaSection = AshaSection()

    @model_validator(mode="after")
    def _agrees(self) -> "SearchSection":
        if self.asha.grace > self.marks:
            raise ValueError(f"asha.grace: expected at most marks, {self.marks}")
        return self
