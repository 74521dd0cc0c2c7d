"""A moving average of the weights: what it answers wavers less than what the last steps made of them."""

from __future__ import annotations

from typing import Any

import torch


class Average:
    """Of the trained weights, in fp32. After update n it moves to the new weights by 1 - d of the way, where

        d = min(decay, (1 + n) / (10 + n))

    so that a short run does not keep its first weights: https://www.tensorflow.org/api_docs/python/tf/train/
    ExponentialMovingAverage.
    """

    def __init__(self, trained: dict[str, torch.nn.Parameter], decay: float):
        self._trained, self._decay, self._updates = trained, decay, 0
        self.values = {name: one.detach().clone() for name, one in trained.items()}

    def follow(self) -> None:
        """After an update of the weights."""
        self._updates += 1
        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
        torch._foreach_lerp_(list(self.values.values()), [one.detach() for one in self._trained.values()], 1 - decay)

    def swap(self) -> None:
        """The weights take the average's place and it theirs; a second time, and all is bit by bit as it was."""
        for name, value in self.values.items():
            weight = self._trained[name].data
            kept = weight.clone()
            weight.copy_(value)
            value.copy_(kept)

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"values": self.values, "updates": self._updates}

    def load(self, state: dict[str, Any]) -> None:
        """Take up what was saved."""
        self._updates = state["updates"]
        for name, value in self.values.items():
            value.copy_(state["values"][name])
