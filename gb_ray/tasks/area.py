"""The area under the ROC curve as a mean over samples, though it is a function of pairs of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def roc_auc(scores: NDArray[np.float64], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """float64 [samples], whose mean is the area of `scores` [samples, labels] against `truth`, the mean over labels.

    A label counts when some samples have it and some have not; NaN when none counts. A sample's number is the area
    plus the sample's influence on it, which follows from its placement among those of the other kind: DeLong, DeLong
    and Clarke-Pearson, Comparing the Areas under Two or More Correlated ROC Curves (1988). The mean over a resample is
    the resample's area to first order; the mean over a part of the samples is nothing.
    """
    counted = truth.any(axis=0) & ~truth.all(axis=0)
    if not counted.any():
        return np.full(len(truth), np.nan)
    return np.mean([_of_label(scores[:, i], truth[:, i]) for i in np.flatnonzero(counted)], axis=0)


def _of_label(scores: NDArray[np.float64], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    # Imported here: it takes a second, and a worker that trains ranks nothing.
    from scipy.stats import rankdata

    among_all, found = rankdata(scores), np.empty(len(scores))
    have, lack = int(truth.sum()), int((~truth).sum())
    found[truth] = (among_all[truth] - rankdata(scores[truth])) / lack
    found[~truth] = 1 - (among_all[~truth] - rankdata(scores[~truth])) / have
    area = found[truth].mean()
    return np.asarray(area + (found - area) * len(scores) / np.where(truth, have, lack))
