"""What a loss in fp16 is multiplied by, lest small gradients vanish (https://arxiv.org/abs/1710.03740, section 3.2)."""

from __future__ import annotations

import math

START, MOST, PATIENCE = 2.0**16, 2.0**24, 2000


class Scale:
    """1, but in fp16: halved when gradients overflow, doubled after so many steps in which they did not.

    It follows from gradients that all workers share, so theirs stay equal. A power of 2 changes no digit.
    """

    def __init__(self, precision: str):
        self._adapts = precision == "fp16"
        self.value, self._good = (START if self._adapts else 1.0), 0

    def holds(self, norm: float) -> bool:
        """Whether a step with gradients of this norm is taken. In bf16 and fp32 all are: the loss was judged."""
        if not self._adapts:
            return True
        if not math.isfinite(norm):
            self.value, self._good = max(self.value / 2, 1.0), 0
            return False
        self._good += 1
        if self._good % PATIENCE == 0:
            self.value = min(self.value * 2, MOST)
        return True

    def state(self) -> dict[str, float]:
        """For a checkpoint."""
        return {"value": self.value, "good": self._good}

    def load(self, state: dict[str, float]) -> None:
        """From a checkpoint."""
        self.value, self._good = state["value"], int(state["good"])
