"""Whether a model that says 0.8 is right in 8 cases of 10, and the one number that helps if not."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from gb_ray.measure.scores import Scores

BINS, DRAWS = 15, 100
FEWEST = 100
"""Decisions below which a temperature would follow their luck: one fitted on 18 made the error on test larger."""
COLDEST, HOTTEST = 0.02, 50.0
Decisions = tuple[NDArray[np.float64], NDArray[np.int64]]
"""Logits [decisions, choices] and the right choices [decisions]."""


def calibrate(validation: Scores, test: Scores) -> dict[str, Any] | None:
    """The temperature that suits the validation split, and what it changes on the test split.

    None when the task gives no probabilities, or the splits ask for too few decisions: the model answers as trained.
    """
    learnt, measured = _decisions(validation), _decisions(test)
    if learnt is None or measured is None or len(learnt[1]) < FEWEST:
        return None
    found = _rounded(temperature(learnt))
    return {
        "temperature": found,
        "fitted_on": len(learnt[1]),
        "validation_nll": {"before": _rounded(nll(learnt, 1.0)), "after": _rounded(nll(learnt, found))},
        "test_nll": {"before": _rounded(nll(measured, 1.0)), "after": _rounded(nll(measured, found))},
        "test_ece": {
            "before": _rounded(ece(measured, 1.0)),
            "after": _rounded(ece(measured, found)),
            "luck": _rounded(luck(measured, found)),
        },
        "bins": {"before": bins(measured, 1.0), "after": bins(measured, found)},
    }


def told(scores: Scores) -> dict[str, Any] | None:
    """The calibration error of what a model answers with, and what it was `before` the temperature of the scores.

    None when the task gives no probabilities.
    """
    found = _decisions(scores)
    if found is None:
        return None
    errors = {"before": ece(found, 1 / scores.temperature), "after": ece(found, 1.0), "luck": luck(found, 1.0)}
    return {
        "temperature": scores.temperature,
        "decisions": len(found[1]),
        "ece": {name: _rounded(error) for name, error in errors.items()},
    }


def temperature(decisions: Decisions) -> float:
    """What logits must be divided by so that the likelihood of the right choices is largest.

    Guo, Pleiss, Sun and Weinberger, On Calibration of Modern Neural Networks, https://arxiv.org/abs/1706.04599,
    section 4.2. It changes no answer: the largest logit stays the largest. It never does worse than 1 on `decisions`.
    """
    span = np.log(COLDEST), np.log(HOTTEST)
    found = minimize_scalar(lambda log: nll(decisions, float(np.exp(log))), bounds=span, method="bounded")
    hot = float(np.exp(found.x))
    return hot if nll(decisions, hot) < nll(decisions, 1.0) else 1.0


def nll(decisions: Decisions, temperature: float) -> float:
    """The mean negative log-likelihood of the right choices, in nats."""
    logits, truth = decisions
    return float(-log_softmax(logits / temperature, axis=1)[np.arange(len(truth)), truth].mean())


def ece(decisions: Decisions, temperature: float) -> float:
    """The expected calibration error: how far confidence is from accuracy, the mean over bins of as many decisions."""
    found = bins(decisions, temperature)
    return sum(one["count"] * abs(one["confidence"] - one["accuracy"]) for one in found) / len(decisions[1])


def luck(decisions: Decisions, temperature: float, seed: int = 0) -> float:
    """The error that would be found, on average, if every confidence were right: no temperature gets below it.

    Few decisions a bin leave much of it. Right and wrong are drawn by the confidences, DRAWS times.
    """
    logits, _ = decisions
    sure = np.sort(np.exp(log_softmax(logits / temperature, axis=1).max(axis=1)))
    right = np.random.default_rng(seed).random((DRAWS, len(sure))) < sure
    edges = np.cumsum([0, *(len(part) for part in np.array_split(sure, min(BINS, len(sure))))])[:-1]
    return float(np.abs(np.add.reduceat(right - sure, edges, axis=1)).sum(axis=1).mean() / len(sure))


def bins(decisions: Decisions, temperature: float) -> list[dict[str, Any]]:
    """`confidence` (mean), `accuracy` and `count` of decisions, from the least sure to the surest."""
    logits, truth = decisions
    sure = np.exp(log_softmax(logits / temperature, axis=1).max(axis=1))
    right = logits.argmax(axis=1) == truth
    parts = np.array_split(np.argsort(sure, kind="stable"), min(BINS, len(truth)))
    return [
        {"confidence": _rounded(sure[part].mean()), "accuracy": _rounded(right[part].mean()), "count": len(part)}
        for part in parts
    ]


def _decisions(scores: Scores) -> Decisions | None:
    if scores.logits is None:
        return None
    found = scores.task.decisions(scores.logits, scores.targets)
    return found if found is not None and len(found[1]) else None


def _rounded(value: float) -> float:
    return round(float(value), 6)
