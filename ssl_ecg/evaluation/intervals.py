"""Patient-level bootstrap: intervals of metrics, paired differences between two models, Holm's correction.

Records of one patient resemble one another, so a replicate draws patients with replacement and takes all records of a
drawn patient. A replicate is stored as how often each record was drawn.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssl_ecg.evaluation.metrics import rank_metrics, undefined_classes

METRICS = ("macro_auroc", "macro_auprc")
"""What ``bootstrap_metrics`` and ``paired_difference`` report, in this order."""

_REDRAWS = 1000


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


def bootstrap_weights(
    patient: ArrayLike, labels: ArrayLike, replicates: int = 1000, seed: int = 0
) -> NDArray[np.uint16]:
    """Draws patients with replacement, so that no class vanishes from any replicate.

    Each patient belongs to the stratum of the rarest class (by positive patients) that any of the patient's records is
    positive for, or to the stratum without positives; each stratum is resampled to its own size. A class that is the
    rarest of one of its patients therefore always keeps a positive. A replicate in which another class still loses its
    last positive or negative is drawn again.

    Args:
        patient: [n], any ids.
        labels: [n, C], 1, 0 or NaN (unknown).
        replicates: How many.
        seed: Of the random draws.

    Returns:
        [n, replicates], how often each record was drawn. Every class that has a positive and a negative among all
        records has both in every replicate.

    Raises:
        ValueError: Sizes differ, or almost every draw loses a class.
    """
    label = np.asarray(labels, dtype=np.float64)
    _, person = np.unique(np.asarray(patient), return_inverse=True)
    if len(person) != len(label):
        raise ValueError(f"patient has {len(person)} entries but labels {len(label)} records")
    stratum = _strata(person, label)
    defined = ~undefined_classes(label)
    present = np.stack([label[:, defined] == 1, label[:, defined] == 0]).astype(np.float32)  # [2, n, classes]

    rng = np.random.default_rng(seed)
    weights = np.empty((len(label), replicates), dtype=np.uint16)
    missing = np.arange(replicates)
    for _ in range(_REDRAWS):
        weights[:, missing] = _resample(stratum, len(missing), rng)[person]
        drawn = (weights[:, missing] > 0).astype(np.float32)
        missing = missing[((present.transpose(0, 2, 1) @ drawn) == 0).any(axis=(0, 1))]
        if not len(missing):
            return weights
    raise ValueError(
        f"{len(missing)} of {replicates} bootstrap replicates still lose a class after {_REDRAWS} draws: "
        "classes with so few patients cannot be resampled; merge them or leave them out"
    )


def interval(values: ArrayLike, point: float, level: float = 0.95) -> Interval:
    """Percentile interval of bootstrap replicates around the point estimate.

    The replicates are first shifted so that their mean is the point. Without that, average precision is wrong: a record
    drawn twice ties with itself, which raises precision in every replicate, and with rare classes the whole interval
    lies above the estimate. AUROC has no such bias and is not moved. The point always lies inside.

    Args:
        values: [replicates].
        point: The estimate on all records.
        level: Coverage aimed at.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    low, high = np.quantile(_centred(values, point), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(point), float(min(low, point)), float(max(high, point)))


def bootstrap_metrics(
    labels: ArrayLike, scores: ArrayLike, patient: ArrayLike, replicates: int = 1000, seed: int = 0, level: float = 0.95
) -> dict[str, Interval]:
    """Macro AUROC and macro AUPRC with patient-level bootstrap intervals.

    With several seeds the point is the mean over seeds of the metric, and each replicate draws patients and, with
    replacement, as many seeds as there are: the interval covers the choice of patients and of seeds. (With few seeds
    it understates the spread between seeds: S draws from S seeds have (S - 1) / S of the variance.)

    Args:
        labels: [n, C], 1, 0 or NaN (unknown).
        scores: [n, C], or [S, n, C] for S training runs that differ in their seed.
        patient: [n], any ids.
        replicates: Bootstrap draws.
        seed: Of the bootstrap.
        level: Coverage aimed at.

    Returns:
        An interval for each of ``METRICS``.
    """
    points, draws = _bootstrap(labels, [_runs(scores)], patient, replicates, seed)
    found = {name: interval(draws[0][i], points[0][i], level) for i, name in enumerate(METRICS)}
    return {name: Interval(mean, max(low, 0.0), min(high, 1.0)) for name, (mean, low, high) in found.items()}


def paired_difference(
    labels: ArrayLike,
    scores_a: ArrayLike,
    scores_b: ArrayLike,
    patient: ArrayLike,
    replicates: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Difference]:
    """Metric of a minus metric of b on the same records, with the same draws of patients and seeds for both.

    Args:
        labels: [n, C], 1, 0 or NaN (unknown).
        scores_a: [n, C], or [S, n, C] for S seeds.
        scores_b: As ``scores_a``; run s of b is the partner of run s of a.
        patient: [n], any ids.
        replicates: Bootstrap draws.
        seed: Of the bootstrap.
        level: Coverage aimed at.

    Returns:
        A difference for each of ``METRICS``; p is (1 + replicates on the other side of 0) / (1 + replicates), doubled.

    Raises:
        ValueError: The shapes of ``scores_a`` and ``scores_b`` differ.
    """
    a, b = _runs(scores_a), _runs(scores_b)
    if a.shape != b.shape:
        raise ValueError(f"scores_a {a.shape} and scores_b {b.shape} must be paired: same seeds, records and classes")
    points, draws = _bootstrap(labels, [a, b], patient, replicates, seed)
    point, values = points[0] - points[1], draws[0] - draws[1]
    return {
        name: Difference(*interval(values[i], point[i], level), p_value=_two_sided(_centred(values[i], point[i])))
        for i, name in enumerate(METRICS)
    }


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


def _strata(person: NDArray[np.intp], label: NDArray[np.float64]) -> NDArray[np.intp]:
    """Stratum of each patient: the rarest class that it is positive for, C if none."""
    patients, classes = person.max(initial=-1) + 1, label.shape[1]
    positive = np.zeros((patients, classes), dtype=bool)
    np.logical_or.at(positive, person, label == 1)
    by_rarity = np.argsort(positive.sum(axis=0), kind="stable")
    first = by_rarity[positive[:, by_rarity].argmax(axis=1)] if classes else np.zeros(patients, dtype=np.intp)
    return np.where(positive.any(axis=1), first, classes)


def _resample(stratum: NDArray[np.intp], replicates: int, rng: np.random.Generator) -> NDArray[np.uint16]:
    """How often each patient is drawn, [patients, replicates], each stratum to its own size."""
    counts = np.empty((len(stratum), replicates), dtype=np.uint16)
    for members in (np.flatnonzero(stratum == s) for s in np.unique(stratum)):
        size = len(members)
        drawn = rng.integers(size, size=(replicates, size)) + size * np.arange(replicates)[:, None]
        counts[members] = np.bincount(drawn.ravel(), minlength=size * replicates).reshape(replicates, size).T
    return counts


def _runs(scores: ArrayLike) -> NDArray[np.float64]:
    score = np.asarray(scores, dtype=np.float64)
    if score.ndim not in (2, 3):
        raise ValueError(f"scores must be [records, classes] or [seeds, records, classes], got shape {score.shape}")
    return score[None] if score.ndim == 2 else score


def _bootstrap(
    labels: ArrayLike, models: list[NDArray[np.float64]], patient: ArrayLike, replicates: int, seed: int
) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
    """Points [2] and replicates [2, R] of both metrics for each model, all on the same draws."""
    defined = ~undefined_classes(labels)
    if not defined.any():
        raise ValueError("no class has both a positive and a negative record, so there is nothing to bootstrap")
    label = np.asarray(labels, dtype=np.float64)[:, defined]
    drawn = bootstrap_weights(patient, label, replicates, seed)
    weights = np.column_stack([np.ones(len(label), dtype=np.uint16), drawn])  # the first column is the point
    seeds = len(models[0])
    chosen = np.random.default_rng([seed, seeds]).integers(seeds, size=(seeds, replicates))
    points, values = [], []
    for runs in models:
        macro = np.stack([np.mean(rank_metrics(label, run[:, defined], weights), axis=1) for run in runs], axis=1)
        points.append(macro[:, :, 0].mean(axis=1))  # macro: [metric, seed, 1 + replicate]
        values.append(np.take_along_axis(macro[:, :, 1:], chosen[None], axis=1).mean(axis=1))
    return points, values


def _centred(values: ArrayLike, point: float) -> NDArray[np.float64]:
    replicates = np.asarray(values, dtype=np.float64)
    return replicates - (replicates.mean() - point)


def _two_sided(values: NDArray[np.float64]) -> float:
    below, above = np.count_nonzero(values <= 0), np.count_nonzero(values >= 0)
    return float(min(1.0, 2 * (1 + min(below, above)) / (1 + len(values))))
