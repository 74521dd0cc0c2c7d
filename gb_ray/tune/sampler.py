"""Proposals by Optuna's TPE that depend on what is known and on nothing else."""

from __future__ import annotations

import hashlib
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial


class Numbered(BaseSampler):
    """TPE (https://arxiv.org/abs/2304.11127) with a seed of its own for each trial.

    Proposal k is a function of the seed and of the trials before it, so a search that goes on after a kill proposes
    what it would have proposed.
    """

    def __init__(self, seed: int):
        self._seed, self._number = seed, -1
        self._drawing: BaseSampler = TPESampler(seed=seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """See BaseSampler."""
        return self._of(trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """See BaseSampler."""
        return self._of(trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """See BaseSampler."""
        return self._of(trial).sample_independent(study, trial, param_name, param_distribution)

    def _of(self, trial: FrozenTrial) -> BaseSampler:
        if trial.number != self._number:
            digest = hashlib.sha256(f"proposal/{self._seed}/{trial.number}".encode()).digest()
            self._drawing, self._number = TPESampler(seed=int.from_bytes(digest[:4], "big")), trial.number
        return self._drawing
