"""The `search:` section of a recipe."""

from typing import Any

from pydantic import Field, model_validator

from gb_ray.section import Section


class Values(Section):
    """The values a key may take: exactly one of the four."""

    log: tuple[float, float] | None = Field(None, description="Between two positive numbers, even in the logarithm.")
    uniform: tuple[float, float] | None = Field(None, description="Between two numbers, even.")
    whole: tuple[int, int] | None = Field(None, description="A whole number between two, or one of them, even.")
    choice: list[Any] | None = Field(None, min_length=1, description="One of these.")

    @model_validator(mode="after")
    def _is_one(self) -> "Values":
        if sum(kind is not None for kind in (self.log, self.uniform, self.whole, self.choice)) != 1:
            raise ValueError("expected exactly one of log, uniform, whole and choice")
        for low, high in filter(None, (self.log, self.uniform, self.whole)):
            if low >= high or (self.log and low <= 0):
                raise ValueError("expected [low, high] with low < high; for log also 0 < low")
        return self

    @property
    def ends(self) -> tuple[float, float]:
        """Of a range."""
        return self.log or self.uniform or self.whole or (0.0, 1.0)

    @property
    def samples(self) -> list[Any]:
        """Values by which a recipe shows whether it takes them all: of a range its ends, and maybe a fraction."""
        if self.choice is not None:
            return self.choice
        low, high = self.ends
        return [low, high] if self.whole else [low, high, low + (high - low) / 3**0.5]


class AshaSection(Section):
    """When a trial ends early (https://arxiv.org/abs/1810.05934).

    A smaller factor has rungs that are later and harder to pass wrongly, and costs more: with 4, 16 trials took 22 % of
    the steps of full ones, with 3 it was 42 % (benchmarks/tune_cost.py).
    """

    rungs: int = Field(2, ge=0, description="How often it may: after 1/factor of its steps, 1/factor^2, and so on.")
    factor: int = Field(4, ge=2, description="Of the trials at a rung, one in so many goes on.")

    @property
    def marks(self) -> list[int]:
        """When a trial is measured, at its rungs and its end, in units of its shortest part: 1, 4, 16."""
        return [self.factor**rung for rung in range(self.rungs + 1)]


class SearchSection(Section):
    """What `gb tune` tries; nothing else reads it."""

    metric: str | None = Field(None, description="Of the validation split, as TASK.METRIC if there are several tasks.")
    trials: int = Field(16, ge=1)
    parallel: int = Field(1, ge=1, description="Trials at once: a process, a CPU and maybe a GPU each.")
    space: dict[str, Values] = Field(
        min_length=1, description="Keys of train and model, such as train.lr, or tasks.NAME.weight or .label_smoothing."
    )
    asha: AshaSection = AshaSection()
