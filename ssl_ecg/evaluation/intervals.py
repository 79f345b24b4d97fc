"""Patient-level bootstrap: intervals of metrics, paired differences between two models, Holm's correction.

``resampling`` draws the patients, ``support`` counts them. Draws give the variance between patients, training runs that
between seeds; ``spread`` joins them to a standard error with degrees of freedom. ``tests/evaluation/test_coverage.py``
simulates what follows: coverage of intervals, and how often equal models differ.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ssl_ecg.evaluation.metrics import rank_metrics, undefined_classes
from ssl_ecg.evaluation.resampling import telling_weights
from ssl_ecg.evaluation.spread import Floats, Spread, interval, spread
from ssl_ecg.evaluation.support import Support, support

Metrics = Callable[[Floats, Floats, Floats], dict[str, Floats]]
"""Labels [n, C], scores [n, D] and weights [n, R] in; by name, a metric [R], NaN where it is undefined."""
Replicates = Mapping[str, Floats]
"""Of one run, by metric: its value on all records, then that of each draw, [1 + R]."""

logger = logging.getLogger(__name__)


class Interval(NamedTuple):
    """A point estimate, the interval around it, and the patients behind it: see ``Support``."""

    mean: float
    low: float
    high: float
    positives: int
    negatives: int


class Difference(NamedTuple):
    """A paired difference.

    Attributes:
        mean: the difference.
        low: end of its interval.
        high: the other end.
        p_value: two-sided, of no difference; NaN where there are too few patients to judge.
        detectable: the smallest true difference that is found at p < .05 with a probability of 80 %.
        positives: patients with the outcome, as in ``Support``.
        negatives: patients without it.
    """

    mean: float
    low: float
    high: float
    p_value: float
    detectable: float
    positives: int
    negatives: int


def macro_metrics(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike) -> dict[str, Floats]:
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


class Inference:
    """What replicates of runs say, given the patients behind them."""

    support: Support

    def intervals(self, runs: Sequence[Replicates], level: float = 0.95) -> dict[str, Interval]:
        """Return the interval of each metric over runs that differ in their seed."""
        found = {}
        for name, values in _defined(runs).items():
            point, error = self._estimate(values)
            bounded = bool(((values >= 0) & (values <= 1)).all())
            low, high = (float(end) for end in interval(point, error, level, bounded))
            found[name] = Interval(point, low, high, *self.support[:2])
        return found

    def differences(
        self, runs_a: Sequence[Replicates], runs_b: Sequence[Replicates], level: float = 0.95
    ) -> dict[str, Difference]:
        """Return a minus b of each metric; run s of b is the partner of run s of a."""
        a, b = _defined(runs_a), _defined(runs_b)
        found = {}
        for name in (name for name in a if name in b):
            point, error = self._estimate(a[name] - b[name])
            low, high = (float(end) for end in interval(point, error, level))
            p_value = float(error.p_value(point)) if self.support.judged else np.nan
            found[name] = Difference(point, low, high, p_value, float(error.detectable), *self.support[:2])
        return found

    def _estimate(self, values: Floats) -> tuple[float, Spread]:
        """Mean and standard error of values [S, 1 + R]."""
        seeds, point = len(values), float(values[:, 0].mean())
        drawn = values[:, 1:]
        drawn = drawn[:, np.isfinite(drawn).all(axis=0)]
        if drawn.shape[1] < 2:
            return point, Spread(np.nan, np.nan)
        patients = drawn.mean(axis=0).var(ddof=1) * self.support.inflation
        between = within = 0.0
        if seeds > 1:
            between = values[:, 0].var(ddof=1)
            around = drawn - drawn.mean(axis=1, keepdims=True)
            within = around.var(axis=0, ddof=1).mean() * self.support.inflation
        return point, spread(patients, between, within, seeds, self.support.freedom)


class Bootstrap(Inference):
    """Draws of the patients of some records, on which any number of runs are scored, each once.

    Intervals and differences then follow from the kept replicates, all on the same draws.
    """

    def __init__(
        self,
        labels: ArrayLike,
        patient: ArrayLike,
        replicates: int = 1000,
        seed: int = 0,
        metrics: Metrics = macro_metrics,
        outcome: ArrayLike | None = None,
    ) -> None:
        """Draw patients.

        Args:
            labels: [n, C], 1, 0 or NaN (unknown), or whatever ``metrics`` reads.
            patient: [n], any ids.
            replicates: bootstrap draws.
            seed: of the bootstrap.
            metrics: what to compute.
            outcome: [n, K], 1, 0 or NaN, which no replicate may lose; the labels if not given.

        Raises:
            ValueError: sizes differ, or no outcome has both values.
        """
        self.labels = np.asarray(labels, dtype=np.float64)
        self.metrics = metrics
        kept = self.labels if outcome is None else np.asarray(outcome, dtype=np.float64)
        if len(np.asarray(patient)) != len(kept):
            raise ValueError(f"patient has {len(np.asarray(patient))} entries but labels {len(kept)} records")
        labelled = np.array_equal(kept, self.labels[:, : kept.shape[1]], equal_nan=True)  # each class is an outcome
        self.support = support(patient, kept, averaged=labelled)
        drawn = telling_weights(patient, kept, replicates, seed)
        if drawn is None:
            logger.warning("no intervals: too few patients have an outcome, or lack it, to be drawn from")
            drawn = np.empty((len(kept), 0), dtype=np.uint16)
        self.weights = np.column_stack([np.ones(len(kept), dtype=np.uint16), drawn])  # the first column is the point

    def score(self, scores: ArrayLike) -> Replicates:
        """Return the metrics of one run, whose scores are [n, D], on all records and on each draw."""
        return self.metrics(self.labels, np.asarray(scores, dtype=np.float64), self.weights)


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

    With several seeds the point is the mean over seeds of the metric, and the interval covers the choice of patients
    and of seeds. Of a single one it covers the choice of patients alone.

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
    bootstrap = Bootstrap(labels, patient, replicates, seed, metrics, outcome)
    return bootstrap.intervals([bootstrap.score(run) for run in _runs(scores)], level)


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
        A difference for each metric that is defined on these records; its p-value is that of a t test, and NaN where
        there are too few patients to judge.

    Raises:
        ValueError: The shapes of ``scores_a`` and ``scores_b`` differ.
    """
    a, b = _runs(scores_a), _runs(scores_b)
    if a.shape != b.shape:
        raise ValueError(f"scores_a {a.shape} and scores_b {b.shape} must be paired: same seeds, records and classes")
    bootstrap = Bootstrap(labels, patient, replicates, seed, metrics, outcome)
    return bootstrap.differences([bootstrap.score(run) for run in a], [bootstrap.score(run) for run in b], level)


def holm(p_values: ArrayLike) -> Floats:
    """P-values adjusted for many comparisons by Holm's step-down method (family-wise error, any dependence).

    The k-th smallest of m is multiplied by m - k + 1, never falls below an earlier one, and is at most 1.

    Args:
        p_values: [m]; NaN where nothing was tested, which counts as no comparison.

    Returns:
        [m], in the order given.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not (np.isnan(p) | ((p >= 0) & (p <= 1))).all():
        raise ValueError(f"p_values must be a list of numbers in [0, 1], got {p.tolist()}")
    order = np.argsort(p, kind="stable")[: np.count_nonzero(~np.isnan(p))]  # NaN is sorted last
    adjusted = np.full_like(p, np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)), 1)
    return adjusted


def format_p(p_value: float) -> str:
    """Return a p-value as a sentence has it: "p 0.032", "p < 0.001", or "too few to judge" where there is none."""
    if np.isnan(p_value):
        return "too few to judge"
    return f"p {p_value:.3f}" if p_value >= 0.001 else "p < 0.001"


def _runs(scores: ArrayLike) -> Floats:
    score = np.asarray(scores, dtype=np.float64)
    if score.ndim not in (2, 3):
        raise ValueError(f"scores must be [records, classes] or [seeds, records, classes], got shape {score.shape}")
    return score[None] if score.ndim == 2 else score


def _defined(runs: Sequence[Replicates]) -> dict[str, Floats]:
    """By name, values [S, 1 + R] of the metrics that these records define; the others are named in the log."""
    stacked = {name: np.stack([run[name] for run in runs]) for name in runs[0]}
    if left_out := [name for name, values in stacked.items() if np.isnan(values[:, 0]).any()]:
        logger.warning("left out, since these records, or what was learned, do not define it: %s", ", ".join(left_out))
    return {name: values for name, values in stacked.items() if name not in left_out}
