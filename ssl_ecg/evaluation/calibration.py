"""Are probabilities what they say? Reliability by bin, expected calibration error and Brier score of each class.

Labels are 1, 0 or NaN (unknown: that record is left out of that class).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ssl_ecg.evaluation.metrics import _check

BINS = 10


def reliability(labels: ArrayLike, scores: ArrayLike, classes: Sequence[str], bins: int = BINS) -> pd.DataFrame:
    """Predicted against observed frequency in bins of equal width.

    Args:
        labels: [n, C], 1, 0 or NaN (unknown).
        scores: [n, C], probabilities.
        classes: names of the C classes.
        bins: how many between 0 and 1.

    Returns:
        A row a class and bin: ``class``, ``low`` and ``high`` (a score on a border belongs to the upper bin),
        ``records``, ``positives``, ``predicted`` (mean score) and ``observed`` (share of positives), both NaN where
        the bin is empty.

    Raises:
        ValueError: Shapes differ, labels are not 0, 1 or NaN, or a score is not between 0 and 1.
    """
    records, positives, total = _binned(labels, scores, bins)
    edges = np.arange(bins + 1) / bins
    filled = np.where(records > 0, records, np.nan)
    return pd.DataFrame(
        {
            "class": np.repeat(np.asarray(classes, dtype=object), bins),
            "low": np.tile(edges[:-1], len(records)),
            "high": np.tile(edges[1:], len(records)),
            "records": records.ravel().astype(int),
            "positives": positives.ravel().astype(int),
            "predicted": (total / filled).ravel(),
            "observed": (positives / filled).ravel(),
        }
    )


def calibration_error(labels: ArrayLike, scores: ArrayLike, bins: int = BINS) -> NDArray[np.float64]:
    """Expected calibration error of each class: the mean over records of |predicted - observed| of their bin.

    The definition is that of Naeini et al. (AAAI 2015), for the probability of each class.

    Args:
        labels: [n, C], 1, 0 or NaN (unknown).
        scores: [n, C], probabilities.
        bins: of equal width.

    Returns:
        [C], NaN where no label is known.
    """
    records, positives, total = _binned(labels, scores, bins)
    known = records.sum(axis=1)
    return np.abs(total - positives).sum(axis=1) / np.where(known > 0, known, np.nan)


def brier_per_class(labels: ArrayLike, scores: ArrayLike) -> NDArray[np.float64]:
    """Brier score of each class: mean squared difference of probability and label (Brier 1950); lower is better.

    Args:
        labels: [n, C], 1, 0 or NaN (unknown).
        scores: [n, C], probabilities.

    Returns:
        [C], NaN where no label is known.
    """
    return brier_scores(labels, scores, np.ones((len(np.asarray(labels)), 1)))[:, 0]


def brier_scores(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike) -> NDArray[np.float64]:
    """Brier score of each class under each of R weightings of the records.

    Args:
        labels: [n, C], 1, 0 or NaN (unknown).
        scores: [n, C], probabilities.
        weights: [n, R], not negative.

    Returns:
        [C, R], NaN where no label is known.
    """
    label, score = _check(labels, scores)
    weight = np.asarray(weights, dtype=np.float64)
    total = (~np.isnan(label)).T.astype(np.float64) @ weight
    errors = np.nan_to_num((score - label) ** 2).T @ weight
    return np.divide(errors, total, out=np.full_like(errors, np.nan), where=total > 0)


def _binned(labels: ArrayLike, scores: ArrayLike, bins: int) -> tuple[NDArray[np.float64], ...]:
    """Number of records, number of positives and sum of scores, each [C, bins]."""
    label, score = _check(labels, scores)
    if bins < 1:
        raise ValueError(f"bins={bins}: must be at least 1")
    if ((score < 0) | (score > 1)).any():
        raise ValueError(f"scores from {score.min():g} to {score.max():g}: probabilities lie between 0 and 1")
    found = np.zeros((3, label.shape[1], bins))
    for c in range(label.shape[1]):
        known = ~np.isnan(label[:, c])
        index = np.minimum((score[known, c] * bins).astype(int), bins - 1)
        for part, weights in enumerate((None, label[known, c], score[known, c])):
            found[part, c] = np.bincount(index, weights, minlength=bins)
    return tuple(found)
