"""Cox regression: what several numbers say together of the time to an event."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import StratifiedKFold

FOLDS = 10
STEPS, NEAR = 30, 1e-12
"""of Newton's method at most, and the gain in likelihood that is worth none"""
Z = 1.959964  # of a standard normal distribution, 95 % lies within


class CoxFit(NamedTuple):
    """What Cox regression finds of P covariates.

    Attributes:
        coefficient: [P]: a difference of 1 in covariate p multiplies the hazard by exp(b_p); 0 for a covariate that is
            the same for all.
        standard_error: [P], of the coefficients, from the curvature of the partial likelihood; NaN where that does not
            determine them, as for a covariate that is the same for all.
    """

    coefficient: NDArray[np.float64]
    standard_error: NDArray[np.float64]

    @property
    def p_value(self) -> NDArray[np.float64]:
        """Of Wald's test that the coefficient is 0, [P]."""
        from scipy.stats import norm

        return 2 * norm.sf(np.abs(self.coefficient / self.standard_error))

    def hazard_ratio(self, difference: ArrayLike = 1.0) -> NDArray[np.float64]:
        """Return the hazard ratio of such a difference of each covariate, and the ends of its 95 % interval, [3, P]."""
        half = Z * self.standard_error
        ends = np.stack([self.coefficient, self.coefficient - half, self.coefficient + half])
        return np.exp(ends * np.asarray(difference))


def cox_regression(covariates: ArrayLike, time: ArrayLike, event: ArrayLike) -> CoxFit:
    """Coefficients of proportional hazards, h(t) = h0(t) exp(x b), without penalty (Cox, JRSS B 1972), with errors.

    Newton's method, ties as Efron (JASA 1977) treats them, in double precision. Where some covariate tells all events
    from the rest there is no maximum, and the coefficient is merely large.

    Args:
        covariates: [n, P].
        time: [n], days to the event or to the end of follow-up.
        event: [n], 1 event, 0 censored.

    Returns:
        Coefficients and standard errors.

    Raises:
        ValueError: sizes differ, a value is not known, or there is no event.
    """
    x, days, happened = (np.asarray(values, dtype=np.float64) for values in (covariates, time, event))
    if x.ndim != 2 or days.shape != happened.shape or days.shape != x.shape[:1]:
        raise ValueError(f"covariates {x.shape}, time {days.shape}, event {happened.shape}: must be [n, P], [n], [n]")
    if not (np.isfinite(x).all() and np.isfinite(days).all() and np.isin(happened, (0, 1)).all()):
        raise ValueError("covariates and time must be finite and event 0 or 1: leave out records that lack one")
    if not happened.any():
        raise ValueError(f"event: none of {len(days)} records has one, so there is nothing to regress on")
    spread = np.where(np.ptp(x, axis=0) > 0, x.std(axis=0), np.inf)
    order = np.argsort(-days, kind="stable")
    standardised = ((x - x.mean(axis=0)) / spread)[order]
    likelihood = partial(_partial_likelihood, standardised, days[order], happened[order] == 1)
    found = np.zeros(x.shape[1])
    value, gradient, curvature = likelihood(found)
    for _ in range(STEPS):
        step = np.linalg.lstsq(curvature, gradient, rcond=None)[0]
        if gradient @ step < NEAR:
            break
        while (trial := likelihood(found + step))[0] < value:
            step = step / 2
        found, (value, gradient, curvature) = found + step, trial
    variance = np.full(len(spread), np.nan)
    varies = np.isfinite(spread)
    inner = curvature[np.ix_(varies, varies)]
    if len(inner) and np.linalg.matrix_rank(inner) == len(inner):
        variance[varies] = np.diag(np.linalg.inv(inner))
    return CoxFit(found / spread, np.sqrt(np.where(variance > 0, variance, np.nan)) / spread)


def _partial_likelihood(
    x: NDArray[np.float64], days: NDArray[np.float64], happened: NDArray[np.bool_], b: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Return the logarithm of the partial likelihood of coefficients [P], its gradient [P] and curvature [P, P].

    Of the d events of one day the r-th, r = 0 to d - 1, is compared with all who are followed to that day, less r / d
    of those with an event on it (Efron 1977).

    Args:
        x: [n, P], the longest followed first, as the others.
        days: [n].
        happened: [n].
        b: [P].
    """
    hazard = x @ b
    weight = np.exp(hazard - hazard.max())
    moments = [weight, weight[:, None] * x, weight[:, None, None] * x[:, :, None] * x[:, None, :]]
    _, day, tied = np.unique(-days[happened], return_inverse=True, return_counts=True)  # in the order of the records
    last = np.searchsorted(-days, -days[happened], side="right") - 1  # of those who are followed to the day of an event
    share = (np.arange(len(day)) - np.searchsorted(day, day)) / tied[day]
    compared = []
    for moment in moments:
        of_day = np.add.reduceat(moment[happened], np.cumsum(tied) - tied)
        less = share.reshape(-1, *[1] * (moment.ndim - 1)) * of_day[day]
        compared.append(np.cumsum(moment, axis=0)[last] - less)
    total, first, second = compared
    mean = first / total[:, None]
    value = (hazard[happened] - hazard.max() - np.log(total)).sum()
    gradient = (x[happened] - mean).sum(axis=0)
    return float(value), gradient, (second / total[:, None, None]).sum(axis=0) - mean.T @ mean


def crossed_hazard(covariates: ArrayLike, time: ArrayLike, event: ArrayLike, seed: int = 0) -> NDArray[np.float64]:
    """Log hazard of each record, by coefficients of the records of the other folds, so that it may be ranked.

    Args:
        covariates: [n, P]; one record a patient.
        time: [n], as in ``cox_regression``.
        event: [n], likewise; each of ten folds, or of as many as there are events or censored records, has its share.
        seed: of the folds.

    Returns:
        [n], around the mean covariates of all.

    Raises:
        ValueError: fewer than two events or two censored records.
    """
    x, days, happened = np.asarray(covariates, np.float64), np.asarray(time), np.asarray(event)
    folds = min(FOLDS, int(happened.sum()), int((happened == 0).sum()))
    if folds < 2:
        raise ValueError(f"event: {int(happened.sum())} of {len(x)}; two with and two without are needed to rank them")
    found = np.empty(len(x))
    for rest, held in StratifiedKFold(folds, shuffle=True, random_state=seed).split(x, happened):
        fit = cox_regression(x[rest], days[rest], happened[rest])
        found[held] = (x[held] - x.mean(axis=0)) @ fit.coefficient
    return found
