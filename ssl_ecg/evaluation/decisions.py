"""From scores to decisions: a threshold a class, F1 and subset accuracy.

Labels are 1, 0 or NaN (unknown: that record is left out of that class). A class is named where its score is at least
its threshold.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssl_ecg.evaluation.metric import Metric
from ssl_ecg.evaluation.metrics import _check, undefined_classes

MACRO_F1 = Metric(
    "macro_f1", "macro F1", "Harmonic mean of sensitivity and precision of the decisions, averaged over classes."
)
SUBSET_ACCURACY = Metric("subset_accuracy", "subset accuracy", "Share of the records whose decisions are all right.")
DEFAULT_THRESHOLD = 0.5
GENERATIONS, CANDIDATES = 60, 8  # of differential evolution; candidates of each class


def best_thresholds(labels: ArrayLike, scores: ArrayLike) -> NDArray[np.float64]:
    """Threshold of each class with the highest F1 on these records, which must not be those that are tested.

    Every distinct score is tried; of equally good ones the highest is taken, so that fewer are named. The threshold
    lies half-way between that score and the next lower one. Where no record is known to be positive it is .5.

    Args:
        labels: [n, C], 1, 0 or NaN (unknown).
        scores: [n, C], between 0 and 1.

    Returns:
        [C].

    Raises:
        ValueError: Shapes differ, labels are not 0, 1 or NaN, or a score is NaN.
    """
    label, score = _check(labels, scores)
    thresholds = np.full(label.shape[1], DEFAULT_THRESHOLD)
    for c in np.flatnonzero((label == 1).any(axis=0)):
        known = ~np.isnan(label[:, c])
        cut, index = np.unique(score[known, c], return_inverse=True)
        # Named, and rightly named, at each cut: sums from the highest score down.
        named, true = (
            np.bincount(index, weights)[::-1].cumsum()[::-1] for weights in (np.ones(len(index)), label[known, c])
        )
        f1 = 2 * true / (named + true[0])
        best = len(cut) - 1 - int(np.argmax(f1[::-1]))
        between = (cut[best] + cut[max(best - 1, 0)]) / 2
        thresholds[c] = between if between > cut[max(best - 1, 0)] else cut[best]
    return thresholds


def evolved_thresholds(
    scores: ArrayLike, start: ArrayLike, value: Callable[[NDArray[np.float64]], float], seed: int = 0
) -> NDArray[np.float64]:
    """Thresholds of all classes together with the highest value that differential evolution finds.

    For metrics that weigh classes against each other, such as the challenge metric (Nejedly et al., CinC 2021);
    ``scipy.optimize.differential_evolution`` (Storn and Price 1997), on the ranks of the scores, so that rare classes
    are searched as finely as common ones.

    Args:
        scores: [n, C], of records that must not be those that are tested.
        start: [C], thresholds among the first candidates, kept where no others are better.
        value: of thresholds [C], to be as high as possible; NaN counts as the lowest.
        seed: of the search.

    Returns:
        [C].
    """
    from scipy.optimize import Bounds, differential_evolution

    ordered, first = np.sort(np.asarray(scores, np.float64), axis=0), np.asarray(start, np.float64)
    count, classes = ordered.shape
    places = np.arange(count) / max(1, count - 1)

    def thresholds(shares: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.array([np.interp(share, places, column) for share, column in zip(shares, ordered.T)])

    def cost(candidate: NDArray[np.float64]) -> float:
        found = value(candidate)
        return np.inf if np.isnan(found) else -found

    def of_shares(shares: NDArray[np.float64]) -> float:
        return cost(thresholds(shares))

    found = differential_evolution(
        of_shares,
        Bounds(np.zeros(classes), np.ones(classes)),
        x0=(ordered < first).mean(axis=0),
        maxiter=GENERATIONS,
        popsize=CANDIDATES,
        polish=False,
        seed=seed,
    )
    return thresholds(found.x) if found.fun < cost(first) else first


def f1_per_class(labels: ArrayLike, decisions: ArrayLike, weights: ArrayLike | None = None) -> NDArray[np.float64]:
    """F1 = 2 TP / (2 TP + FP + FN) of each class under each of R weightings of the records.

    Args:
        labels: [n, C], 1, 0 or NaN (unknown).
        decisions: [n, C], 0 or 1.
        weights: [n, R], not negative; a single weighting of ones if not given.

    Returns:
        [C, R], NaN where a class has no known positive or no known negative.
    """
    label, decided = _check(labels, decisions)
    weight = np.ones((len(label), 1)) if weights is None else np.asarray(weights, dtype=np.float64)
    true = (decided * (label == 1)).T @ weight
    named, positives = (decided * ~np.isnan(label)).T @ weight, (label == 1).T.astype(np.float64) @ weight
    negatives = (label == 0).T.astype(np.float64) @ weight
    f1 = np.divide(2 * true, named + positives, out=np.full_like(true, np.nan), where=named + positives > 0)
    return np.where((positives > 0) & (negatives > 0), f1, np.nan)


def decision_metrics(labels: ArrayLike, decisions: ArrayLike, weights: ArrayLike) -> dict[str, NDArray[np.float64]]:
    """Macro F1 over the classes that have both outcomes, and subset accuracy, each [R].

    Subset accuracy is the share of records whose decisions are all right; a record with an unknown label is left out.

    Args:
        labels: [n, C], 1, 0 or NaN (unknown).
        decisions: [n, C], 0 or 1.
        weights: [n, R].

    Returns:
        By name; NaN where undefined.
    """
    label, decided = _check(labels, decisions)
    weight, defined = np.asarray(weights, dtype=np.float64), ~undefined_classes(label)
    f1 = f1_per_class(label, decided, weight)[defined]
    complete = (~np.isnan(label).any(axis=1)).astype(np.float64) @ weight
    right = (label == decided).all(axis=1).astype(np.float64) @ weight
    return {
        "macro_f1": f1.mean(axis=0) if defined.any() else np.full(weight.shape[1], np.nan),
        "subset_accuracy": np.divide(right, complete, out=np.full_like(right, np.nan), where=complete > 0),
    }
