"""Standard errors over patients and seeds, their degrees of freedom, and the intervals and p-values that follow."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.special import expit, logit

Floats = NDArray[np.float64]

SIGNIFICANCE = 0.05
POWER = 0.8


class Spread(NamedTuple):
    """Standard error and degrees of freedom of an estimate."""

    error: Floats | float
    freedom: Floats | float

    def quantile(self, level: float) -> Floats:
        """Return the two-sided quantile of Student's t times the standard error."""
        return np.asarray(stats.t.ppf((1 + level) / 2, self.freedom) * self.error)

    def p_value(self, point: ArrayLike) -> Floats:
        """Return the two-sided p-value of 0; without any spread that of as many patients who agree in a sign test."""
        far, never = np.abs(point), np.asarray(self.error) == 0
        ratio = np.divide(far, self.error, out=np.zeros(np.shape(far)), where=~never)
        return np.where(never & (far > 0), 0.5**self.freedom, 2 * stats.t.sf(ratio, self.freedom))

    @property
    def detectable(self) -> Floats:
        """The smallest true difference that p < .05 finds with 80 % power."""
        needed = stats.t.ppf(1 - SIGNIFICANCE / 2, self.freedom) + stats.t.ppf(POWER, self.freedom)
        return np.asarray(needed * self.error)


def spread(patients: ArrayLike, between: ArrayLike, within: ArrayLike, seeds: int, freedom: float) -> Spread:
    """Join the variance between patients with that between seeds.

    The mean of S seeds has the variance V = patients + max(between - within, 0) / S: patients who suit one seed and not
    another make seeds differ too, and are counted already. Its degrees of freedom are Satterthwaite's (Biometrics
    1946), but for two or three seeds these come out too high where seeds differ by chance less than they do; so the
    squared variance between seeds counts (S + 1) / (S - 1) times, and ``within`` is not taken from it.

    Args:
        patients: variance of the mean over seeds between draws of patients.
        between: variance between seeds.
        within: the part of it that draws of patients show too.
        seeds: how many; of one the chance in training cannot be known, and is not covered.
        freedom: degrees of freedom of ``patients``.
    """
    by_patient = np.asarray(patients, dtype=np.float64)
    if seeds == 1:
        return Spread(np.sqrt(by_patient), np.full_like(by_patient, freedom))
    by_seed = np.asarray(between) / seeds
    variance = by_patient + np.maximum(by_seed - np.asarray(within) / seeds, 0)
    unsure = by_patient**2 / freedom + by_seed**2 * (seeds + 1) / (seeds - 1) ** 2
    joint = np.divide(variance**2, unsure, out=np.full_like(variance, freedom), where=unsure > 0)
    return Spread(np.sqrt(variance), np.maximum(joint, min(freedom, seeds - 1)))


def interval(point: ArrayLike, spread: Spread, level: float = 0.95, bounded: bool = False) -> tuple[Floats, Floats]:
    """Return the ends of the t interval around an estimate.

    Args:
        point: the estimate.
        spread: its standard error.
        level: coverage aimed at.
        bounded: whether the estimate lies between 0 and 1. Then the interval is symmetric on the logit scale, since
            near 1 estimates scatter downwards. At 0 or 1 there is no spread: the other end is that of a share of as
            many patients (Clopper and Pearson, Biometrika 1934).
    """
    if not 0 < level < 1:
        raise ValueError(f"level={level}: must lie between 0 and 1")
    value, half = np.asarray(point, dtype=np.float64), spread.quantile(level)
    if not bounded:
        return value - half, value + half
    inside = (value > 0) & (value < 1)
    slope = np.where(inside, value * (1 - value), 1)
    centre = logit(np.where(inside, value, 0.5))
    low, high = expit(centre - half / slope), expit(centre + half / slope)
    furthest = ((1 - level) / 2) ** (1 / (np.asarray(spread.freedom) + 1))
    low = np.where(inside, low, np.where(value >= 1, furthest, 0.0))
    high = np.where(inside, high, np.where(value <= 0, 1 - furthest, 1.0))
    unknown = np.isnan(half)
    return np.where(unknown, np.nan, low), np.where(unknown, np.nan, high)
