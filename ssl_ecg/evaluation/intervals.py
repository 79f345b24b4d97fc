"""Patient-level bootstrap: intervals of metrics, paired differences between two models, Holm's correction.

``ssl_ecg.evaluation.resampling`` draws the patients.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssl_ecg.evaluation.metrics import rank_metrics, undefined_classes
from ssl_ecg.evaluation.resampling import telling_weights

Metrics = Callable[[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]], dict[str, NDArray[np.float64]]]
"""Labels [n, C], scores [n, D] and weights [n, R] in; by name, a metric [R], NaN where it is undefined."""

logger = logging.getLogger(__name__)


class Interval(NamedTuple):
    """A point estimate and the interval around it."""

    mean: float
    low: float
    high: float


class Difference(NamedTuple):
    """A paired difference, its interval, and the two-sided bootstrap p-value of no difference."""

    mean: float
    low: float
    high: float
    p_value: float


def interval(values: ArrayLike, point: float, level: float = 0.95) -> Interval:
    """Percentile interval of bootstrap replicates around the point estimate.

    The replicates are first shifted so that their mean is the point. Without that, average precision is wrong: a record
    drawn twice ties with itself, which raises precision in every replicate, and with rare classes the whole interval
    lies above the estimate. AUROC has no such bias and is not moved. The point always lies inside.

    Args:
        values: [replicates]; without any the ends are NaN.
        point: The estimate on all records.
        level: Coverage aimed at.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    if not np.size(values):
        return Interval(float(point), np.nan, np.nan)
    low, high = np.quantile(_centred(values, point), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(point), float(min(low, point)), float(max(high, point)))


def bounded_interval(values: ArrayLike, point: float, level: float = 0.95) -> Interval:
    """``interval``, not beyond 0 and 1 unless the metric itself goes beyond, in a replicate or at the point."""
    mean, low, high = interval(values, point, level)
    lowest, highest = np.min(values, initial=min(mean, 0.0)), np.max(values, initial=max(mean, 1.0))
    return Interval(mean, float(np.maximum(low, lowest)), float(np.minimum(high, highest)))


def macro_metrics(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike) -> dict[str, NDArray[np.float64]]:
    """Macro AUROC and macro AUPRC over the classes that have both outcomes, each [R]; NaN where there is none.

    Args:
        labels: [n, C], 1, 0 or NaN (unknown).
        scores: [n, C].
        weights: [n, R].
    """
    defined = ~undefined_classes(labels)
    if not defined.any():
        return dict.fromkeys(("macro_auroc", "macro_auprc"), np.full(np.shape(weights)[1], np.nan))
    label, score = np.asarray(labels, dtype=np.float64)[:, defined], np.asarray(scores)[:, defined]
    auroc, auprc = np.mean(rank_metrics(label, score, weights), axis=1)
    return {"macro_auroc": auroc, "macro_auprc": auprc}


def bootstrap_metrics(
    labels: ArrayLike,
    scores: ArrayLike,
    patient: ArrayLike,
    replicates: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    metrics: Metrics = macro_metrics,
    outcome: ArrayLike | None = None,
) -> dict[str, Interval]:
    """Metrics, by default macro AUROC and macro AUPRC, with patient-level bootstrap intervals.

    With several seeds the point is the mean over seeds of the metric, and each replicate draws patients and, with
    replacement, as many seeds as there are: the interval covers the choice of patients and of seeds. (With few seeds
    it understates the spread between seeds: S draws from S seeds have (S - 1) / S of the variance.)

    Args:
        labels: [n, C], 1, 0 or NaN (unknown), or whatever ``metrics`` reads.
        scores: [n, D], or [S, n, D] for S training runs that differ in their seed.
        patient: [n], any ids.
        replicates: Bootstrap draws.
        seed: Of the bootstrap.
        level: Coverage aimed at.
        metrics: What to compute; most lie between 0 and 1, and so do then their intervals.
        outcome: [n, K], 1, 0 or NaN, which no replicate may lose; the labels if not given.

    Returns:
        An interval for each metric that is defined on these records; the others are named in the log. Its ends are NaN,
        and the log says so, where draws of these patients would say nothing: see ``telling_weights``.
    """
    points, draws = _bootstrap(labels, [_runs(scores)], patient, replicates, seed, metrics, outcome)
    return {name: bounded_interval(draws[0][name], point, level) for name, point in points[0].items()}


def paired_difference(
    labels: ArrayLike,
    scores_a: ArrayLike,
    scores_b: ArrayLike,
    patient: ArrayLike,
    replicates: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    metrics: Metrics = macro_metrics,
    outcome: ArrayLike | None = None,
) -> dict[str, Difference]:
    """Metric of a minus metric of b on the same records, with the same draws of patients and seeds for both.

    Args:
        labels: [n, C], 1, 0 or NaN (unknown), or whatever ``metrics`` reads.
        scores_a: [n, D], or [S, n, D] for S seeds.
        scores_b: As ``scores_a``; run s of b is the partner of run s of a.
        patient: [n], any ids.
        replicates: Bootstrap draws.
        seed: Of the bootstrap.
        level: Coverage aimed at.
        metrics: As in ``bootstrap_metrics``.
        outcome: As in ``bootstrap_metrics``.

    Returns:
        A difference for each metric that is defined on these records; p is (1 + replicates on the other side of 0) /
        (1 + replicates), doubled and at most 1, as where there are no intervals either.

    Raises:
        ValueError: The shapes of ``scores_a`` and ``scores_b`` differ.
    """
    a, b = _runs(scores_a), _runs(scores_b)
    if a.shape != b.shape:
        raise ValueError(f"scores_a {a.shape} and scores_b {b.shape} must be paired: same seeds, records and classes")
    points, draws = _bootstrap(labels, [a, b], patient, replicates, seed, metrics, outcome)
    found = {}
    for name in points[0]:
        point, values = points[0][name] - points[1][name], draws[0][name] - draws[1][name]
        found[name] = Difference(*interval(values, point, level), p_value=_two_sided(_centred(values, point)))
    return found


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """P-values adjusted for many comparisons by Holm's step-down method (family-wise error, any dependence).

    The k-th smallest of m is multiplied by m - k + 1, never falls below an earlier one, and is at most 1.

    Args:
        p_values: [m].

    Returns:
        [m], in the order given.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p_values must be a list of numbers in [0, 1], got {p.tolist()}")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return adjusted


def _runs(scores: ArrayLike) -> NDArray[np.float64]:
    score = np.asarray(scores, dtype=np.float64)
    if score.ndim not in (2, 3):
        raise ValueError(f"scores must be [records, classes] or [seeds, records, classes], got shape {score.shape}")
    return score[None] if score.ndim == 2 else score


def _bootstrap(
    labels: ArrayLike,
    models: list[NDArray[np.float64]],
    patient: ArrayLike,
    replicates: int,
    seed: int,
    metrics: Metrics,
    outcome: ArrayLike | None,
) -> tuple[list[dict[str, float]], list[dict[str, NDArray[np.float64]]]]:
    """By name, point and replicates [R] of each metric for each model, all on the same draws."""
    label = np.asarray(labels, dtype=np.float64)
    kept = label if outcome is None else np.asarray(outcome, dtype=np.float64)
    if undefined_classes(kept).all():
        raise ValueError("no class has both a positive and a negative record, so there is nothing to bootstrap")
    drawn = telling_weights(patient, kept, replicates, seed)
    if drawn is None:
        logger.warning("no intervals: too few patients have an outcome, or lack it, to be drawn from")
        drawn = np.empty((len(label), 0), dtype=np.uint16)
    weights = np.column_stack([np.ones(len(label), dtype=np.uint16), drawn])  # the first column is the point
    seeds = len(models[0])
    chosen = np.random.default_rng([seed, seeds]).integers(seeds, size=(seeds, drawn.shape[1]))
    points, values = [], []
    for runs in models:
        each = [metrics(label, run, weights) for run in runs]
        found = {name: np.stack([run[name] for run in each]) for name in each[0]}  # [seed, 1 + replicate]
        if left_out := [name for name, value in found.items() if np.isnan(value[:, 0]).any()]:
            logger.warning("left out, since these records do not define it: %s", ", ".join(left_out))
        found = {name: value for name, value in found.items() if name not in left_out}
        points.append({name: float(value[:, 0].mean()) for name, value in found.items()})
        values.append(
            {name: np.take_along_axis(value[:, 1:], chosen, axis=0).mean(axis=0) for name, value in found.items()}
        )
    return points, values


def _centred(values: ArrayLike, point: float) -> NDArray[np.float64]:
    replicates = np.asarray(values, dtype=np.float64)
    return replicates - (replicates.mean() - point) if len(replicates) else replicates


def _two_sided(values: NDArray[np.float64]) -> float:
    below, above = np.count_nonzero(values <= 0), np.count_nonzero(values >= 0)
    return float(min(1.0, 2 * (1 + min(below, above)) / (1 + len(values))))
