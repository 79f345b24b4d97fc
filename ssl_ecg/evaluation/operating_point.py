"""Sensitivity where specificity is given: the best that a score allows, and the threshold to keep for later records.

Labels are 1, 0 or NaN (unknown: that record is left out of that class). A class is named where its score is at least
its threshold; sensitivity is the share of positives that are named, specificity that of negatives that are not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssl_ecg.evaluation.decisions import DEFAULT_THRESHOLD
from ssl_ecg.evaluation.metric import Metric
from ssl_ecg.evaluation.metrics import _by_threshold, _check

SENSITIVITY_AT_SPECIFICITY = Metric(
    "sensitivity_at_specificity",
    "sensitivity at the wanted specificity",
    "Share of the outcomes that are found where the threshold just keeps the wanted specificity on the tested records.",
)
SENSITIVITY = Metric(
    "sensitivity",
    "sensitivity at the tuned threshold",
    "Share of the records with the outcome that the threshold, fixed on validation, finds.",
)
SPECIFICITY = Metric(
    "specificity",
    "specificity at the tuned threshold",
    "Share of the records without the outcome that the threshold, fixed on validation, spares.",
)
_ROUNDING = 1e-9  # 1 - .9 is a little less than .1, and must still allow one of ten


def sensitivity_at_specificity(
    labels: ArrayLike, scores: ArrayLike, specificity: float, weights: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Highest sensitivity of each class at a specificity of at least this, under each of R weightings of the records.

    Every weighting has the threshold that suits it best: a point of its ROC curve, as an AUROC is its area. What a
    threshold fixed beforehand achieves is ``sensitivity_and_specificity``.

    Args:
        labels: [n, C], 1, 0 or NaN (unknown).
        scores: [n, C], higher means more likely positive; any monotone scale.
        specificity: above 0 and at most 1.
        weights: [n, R], not negative; a single weighting of ones if not given.

    Returns:
        [C, R], NaN where there is no positive or no negative.

    Raises:
        ValueError: Shapes differ, or a value is impossible.
    """
    label, score = _check(labels, scores)
    weight = np.ones((len(label), 1)) if weights is None else np.asarray(weights)
    allowed = _allowed(specificity)
    found = np.full((label.shape[1], weight.shape[-1]), np.nan)
    for c, chunk, true, above in _by_threshold(label, score, weight):
        if len(true):
            false = above - true
            best = np.where(false <= allowed * false[-1], true, 0).max(axis=0)
            defined = (true[-1] > 0) & (false[-1] > 0)
            found[c, chunk] = np.divide(best, true[-1], out=np.full_like(best, np.nan), where=defined)
    return found


def threshold_at_specificity(labels: ArrayLike, scores: ArrayLike, specificity: float) -> NDArray[np.float64]:
    """Lowest threshold of each class with at least this specificity on these records, which must not be those tested.

    It depends on the negatives alone, of which there are usually enough: it lies half-way between the highest score of
    those that must not be named and the next higher score of any record (or 1).

    Args:
        labels: [n, C], 1, 0 or NaN (unknown).
        scores: [n, C], between 0 and 1.
        specificity: above 0 and at most 1.

    Returns:
        [C], .5 where no record is known to be negative.

    Raises:
        ValueError: Shapes differ, or a value is impossible.
    """
    label, score = _check(labels, scores)
    allowed = _allowed(specificity)
    thresholds = np.full(label.shape[1], DEFAULT_THRESHOLD)
    for c in np.flatnonzero((label == 0).any(axis=0)):
        negative = np.sort(score[label[:, c] == 0, c])[::-1]
        spared = negative[min(int(allowed * len(negative)), len(negative) - 1)]
        known = score[~np.isnan(label[:, c]), c]
        above = known[known > spared].min(initial=1.0)
        between = (spared + above) / 2
        thresholds[c] = between if between > spared else above
    return thresholds


def sensitivity_and_specificity(
    labels: ArrayLike, decisions: ArrayLike, weights: ArrayLike | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sensitivity and specificity of decisions of each class under each of R weightings of the records.

    Args:
        labels: [n, C], 1, 0 or NaN (unknown).
        decisions: [n, C], 0 or 1.
        weights: [n, R], not negative; a single weighting of ones if not given.

    Returns:
        Both [C, R]; NaN without a positive, or without a negative.
    """
    label, decided = _check(labels, decisions)
    weight = np.ones((len(label), 1)) if weights is None else np.asarray(weights, dtype=np.float64)

    def share_right(outcome: int) -> NDArray[np.float64]:
        there = label == outcome
        total, right = ((kept.T.astype(np.float64) @ weight) for kept in (there, there & (decided == outcome)))
        return np.divide(right, total, out=np.full_like(right, np.nan), where=total > 0)

    return share_right(1), share_right(0)


def _allowed(specificity: float) -> float:
    """Share of negatives that may be named."""
    if not 0 < specificity <= 1:
        raise ValueError(f"specificity={specificity}: choose a share of negatives above 0 and at most 1")
    return 1 - specificity + _ROUNDING
