"""Ranking metrics per class and their macro averages.

Labels are 1, 0 or NaN (unknown: that record is left out of that class). A class without a known positive or without a
known negative has no AUROC and no AUPRC: it is NaN per class and left out of macro averages, never counted as .5.

Every metric takes record weights for many replicates at once: a bootstrap replicate is a vector of counts (how often
each record was drawn), so scores are sorted once per class and all replicates follow from cumulative sums along that
order.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from ssl_ecg.evaluation.metric import Metric

AUROC = Metric(
    "auroc", "AUROC", "The chance that a record with the outcome scores above one without it; .5 is guessing."
)
AUPRC = Metric("auprc", "AUPRC", "Average precision; guessing gives the share of positives.")
MACRO_AUROC = Metric(
    "macro_auroc",
    "macro AUROC",
    "The chance that a record with a finding scores above one without it, averaged over classes; .5 is guessing.",
)
MACRO_AUPRC = Metric(
    "macro_auprc", "macro AUPRC", "Average precision, averaged over classes; guessing gives the share of positives."
)

logger = logging.getLogger(__name__)

_CHUNK = 2**18  # weights handled at once: the working set stays in the processor's cache


def auroc_per_class(labels: ArrayLike, scores: ArrayLike) -> NDArray[np.float64]:
    """Area under the ROC curve of each class; a tie between a positive and a negative counts one half.

    Args:
        labels: [n, C], 1, 0 or NaN (unknown).
        scores: [n, C], higher means more likely positive; any monotone scale.

    Returns:
        [C], NaN where a class has no known positive or no known negative.
    """
    return rank_metrics(labels, scores)[0][:, 0]


def auprc_per_class(labels: ArrayLike, scores: ArrayLike) -> NDArray[np.float64]:
    """Average precision of each class: the sum of precision x step in recall over distinct thresholds.

    Args:
        labels: [n, C], 1, 0 or NaN (unknown).
        scores: [n, C], higher means more likely positive.

    Returns:
        [C], NaN where a class has no known positive or no known negative.
    """
    return rank_metrics(labels, scores)[1][:, 0]


def macro_auroc(labels: ArrayLike, scores: ArrayLike, classes: Sequence[str] | None = None) -> float:
    """Mean AUROC over the classes that have a positive and a negative.

    Args:
        labels: [n, C], 1, 0 or NaN (unknown).
        scores: [n, C].
        classes: Names of the C classes, for the log line that says which were left out.

    Raises:
        ValueError: No class has both a positive and a negative.
    """
    return _macro(auroc_per_class(labels, scores), classes, "AUROC")


def macro_auprc(labels: ArrayLike, scores: ArrayLike, classes: Sequence[str] | None = None) -> float:
    """Mean average precision over the classes that have a positive and a negative.

    Args:
        labels: [n, C], 1, 0 or NaN (unknown).
        scores: [n, C].
        classes: Names of the C classes, for the log line that says which were left out.

    Raises:
        ValueError: No class has both a positive and a negative.
    """
    return _macro(auprc_per_class(labels, scores), classes, "AUPRC")


def undefined_classes(labels: ArrayLike) -> NDArray[np.bool_]:
    """Which classes lack a known positive or a known negative, so that ranking them means nothing.

    Args:
        labels: [n, C], 1, 0 or NaN (unknown).

    Returns:
        bool [C].
    """
    known = _check_labels(labels)
    return ~((known == 1).any(axis=0) & (known == 0).any(axis=0))


def rank_metrics(
    labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """AUROC and average precision of each class under each of R weightings of the records.

    With TP_g and FP_g the weight of positives and negatives that score at least the g-th distinct threshold, P and N
    their totals:

        AUROC = sum_g (FP_g - FP_{g-1}) (TP_g + TP_{g-1}) / (2 P N)
        AP    = sum_g (TP_g - TP_{g-1}) / P * TP_g / (TP_g + FP_g)

    Args:
        labels: [n, C], 1, 0 or NaN (unknown).
        scores: [n, C].
        weights: [n, R], not negative; a single weighting of ones if not given.

    Returns:
        AUROC [C, R] and average precision [C, R], NaN where P or N is zero.

    Raises:
        ValueError: Shapes differ, labels are not 0, 1 or NaN, or a score is NaN.
    """
    label, score = _check(labels, scores)
    weight = _check_weights(np.ones((len(label), 1)) if weights is None else np.asarray(weights), len(label))
    auroc, precision = np.empty((2, label.shape[1], weight.shape[1]))
    ranked = [_ranked(label[:, c], score[:, c]) for c in range(label.shape[1])]
    for chunk in _chunks(weight):
        drawn = weight[:, chunk].astype(np.float64)
        for c, one in enumerate(ranked):
            auroc[c, chunk], precision[c, chunk] = _areas(*(part @ drawn for part in one))
    return auroc, precision


def _chunks(weight: NDArray[Any]) -> Iterator[slice]:
    """Cut R weightings [n, R] into parts."""
    step = max(1, _CHUNK // max(1, len(weight)))
    return (slice(start, start + step) for start in range(0, weight.shape[1], step))


def _ranked(label: NDArray[np.float64], score: NDArray[np.float64]) -> tuple[csr_array, csr_array, csr_array]:
    """Return three tables [G + 1, n] of ones that add up weights of records by the G scores that positives have.

    Both areas change at these thresholds alone, highest first, so between them negatives are summed at once.

    Returns:
        The positives of each such score; the negatives of that score; the negatives above it, down to the one before.
        The last row has the negatives that are left.
    """
    values = -np.unique(-score[label == 1])
    # The first threshold that a score does not lie below; len(values) below them all.
    place = np.searchsorted(-values, -score)
    tied = np.append(values, np.nan)[place] == score
    shape = len(values) + 1, len(score)
    return tuple(  # type: ignore[return-value]
        csr_array((np.ones(len(rows)), (place[rows], rows)), shape)
        for rows in map(np.flatnonzero, (label == 1, (label == 0) & tied, (label == 0) & ~tied))
    )


def _by_threshold(
    label: NDArray[np.float64], score: NDArray[np.float64], weight: NDArray[Any]
) -> Iterator[tuple[int, slice, NDArray[np.float64], NDArray[np.float64]]]:
    """Yield class, weightings, and TP and TP + FP at each distinct threshold, [G, R], highest first; G may be 0."""
    weight = _check_weights(weight, len(label))
    for c in range(label.shape[1]):
        known = np.flatnonzero(~np.isnan(label[:, c]))
        order = known[np.argsort(-score[known, c], kind="stable")]
        positive = label[order, c][:, None]
        last_of_tie = np.append(np.flatnonzero(np.diff(score[order, c])), len(order) - 1)[: len(order)]
        for chunk in _chunks(weight):
            drawn = weight[order, chunk].astype(np.float64)
            above = np.cumsum(drawn, axis=0)[last_of_tie]
            true = np.cumsum(drawn * positive, axis=0)[last_of_tie]
            yield c, chunk, true, above


def _areas(
    gained: NDArray[np.float64], tied: NDArray[np.float64], between: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """AUROC [R] and average precision [R] of what the tables of ``_ranked`` add up, each [G + 1, R]."""
    true, false = np.cumsum(gained, axis=0), np.cumsum(tied + between, axis=0)
    positives, negatives, above = true[-1], false[-1], true + false
    precision = np.divide(true, above, out=np.zeros_like(true), where=above > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        # A positive scores above the negatives that come later, and half above those of the same score.
        auroc = np.einsum("gr,gr->r", gained, negatives - false + tied / 2) / (positives * negatives)
        average_precision = np.einsum("gr,gr->r", gained, precision) / positives
    defined = (positives > 0) & (negatives > 0)
    return np.where(defined, auroc, np.nan), np.where(defined, average_precision, np.nan)


def _macro(values: NDArray[np.float64], classes: Sequence[str] | None, metric: str) -> float:
    left_out = np.flatnonzero(np.isnan(values))
    if len(left_out) == len(values):
        raise ValueError(f"no class has both a positive and a negative record, so macro {metric} is undefined")
    if len(left_out):
        names = [classes[i] if classes is not None else i for i in left_out.tolist()]
        logger.debug("macro %s leaves out %d classes without a positive or a negative: %s", metric, len(names), names)
    return float(np.nanmean(values))


def _check_labels(labels: ArrayLike) -> NDArray[np.float64]:
    label = np.asarray(labels, dtype=np.float64)
    if label.ndim != 2:
        raise ValueError(f"labels must be [records, classes], got shape {label.shape}")
    if not (np.isnan(label) | (label == 0) | (label == 1)).all():
        raise ValueError(
            f"labels must be 0, 1 or NaN (unknown), got values from {np.nanmin(label)} to {np.nanmax(label)}"
        )
    return label


def _check_weights(weight: NDArray[Any], records: int) -> NDArray[Any]:
    if weight.ndim != 2 or len(weight) != records:
        raise ValueError(f"weights must be [{records}, replicates], got shape {weight.shape}")
    return weight


def _check(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    label, score = _check_labels(labels), np.asarray(scores, dtype=np.float64)
    if label.shape != score.shape:
        raise ValueError(f"labels have shape {label.shape} but scores {score.shape}: both must be [records, classes]")
    if np.isnan(score).any():
        raise ValueError(f"scores hold {int(np.isnan(score).sum())} NaN: every record needs a score for every class")
    return label, score
