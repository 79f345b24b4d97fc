"""Survival metrics under censoring, for many bootstrap weightings at once.

A censored record is known to be free of the event up to and including its time. Censoring is weighted by its inverse
probability (IPCW): with G(t-) the Kaplan-Meier probability of being under observation just before t, estimated on the
same records and weighting, an event at t counts 1 / G(t-), and a record that is free at the horizon 1 / G(horizon-).
Events precede censoring at the same time.

Every metric takes weights [n, R], how often each record was drawn in each of R replicates, and returns an array with
R as its last axis (R = 1 without weights); NaN where it is undefined.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssl_ecg.evaluation.metric import Metric
from ssl_ecg.evaluation.metrics import rank_metrics

C_INDEX = Metric(
    "c_index",
    "C-index",
    "The chance that of two records the one with the earlier event has the higher risk; .5 is guessing.",
)
C_INDEX_IPCW = Metric(
    "c_index_ipcw",
    "C-index, weighted against censoring",
    "The same, with weights that make up for those whose follow-up ended early.",
)
AUROC_AT_HORIZON = Metric(
    "auroc_at_horizon",
    "AUROC at the horizon",
    "The chance that a record with an event by the horizon has a higher risk than one known to be free of it then, "
    "weighted likewise.",
)
BRIER_AT_HORIZON = Metric(
    "brier_at_horizon",
    "Brier score at the horizon",
    "Mean squared error of the survival predicted for the horizon, weighted likewise; lower is better.",
    True,
)
INTEGRATED_BRIER = Metric(
    "integrated_brier",
    "integrated Brier score",
    "Mean of that error over all times up to the horizon; lower is better.",
    True,
)

Floats = NDArray[np.float64]

_CELLS = 2**22  # of a block of pairs or of weights held at once: some ten MB


def concordance_index(
    time: ArrayLike,
    event: ArrayLike,
    risk: ArrayLike,
    weights: ArrayLike | None = None,
    horizon: float = np.inf,
    ipcw: bool = False,
) -> Floats:
    """Share of comparable pairs in which the record with the earlier event has the higher risk; a tied risk is half.

    A pair is comparable if one has its event by the horizon and the other is known to be free of it for longer. Without
    ``ipcw`` this is Harrell's C (JAMA 1982), which depends on who is censored; with it Uno's (Statistics in Medicine
    2011), where each pair counts 1 / G(t-)^2.

    Args:
        time: [n], days to the event or to the end of follow-up.
        event: [n], 1 event, 0 censored.
        risk: [n], higher means earlier; any monotone scale.
        weights: [n, R], not negative.
        horizon: days; later events are not ranked.
        ipcw: weight against censoring.

    Returns:
        [R], NaN without a comparable pair.
    """
    days, happened, weight = _check(time, event, weights)
    score = _finite("risk", risk, days.shape)
    cases = np.flatnonzero(happened & (days <= horizon))
    right, pairs = np.zeros((2, weight.shape[1]))
    factor = weight[cases]
    if ipcw:
        factor = factor / _under_observation(days, happened, weight, days[cases]) ** 2
    block = max(1, _CELLS // max(1, len(days)))
    for start in range(0, len(cases), block):
        part = cases[start : start + block, None]
        later = (days > days[part]) | ((days == days[part]) & ~happened)
        agree = later * ((score < score[part]) + 0.5 * (score == score[part]))
        counted = factor[start : start + block]
        right += (counted * (agree @ weight)).sum(axis=0)
        pairs += (counted * (later.astype(np.float64) @ weight)).sum(axis=0)
    return _ratio(right, pairs)


def auroc_at(
    time: ArrayLike, event: ArrayLike, risk: ArrayLike, horizon: float, weights: ArrayLike | None = None
) -> Floats:
    """Cumulative/dynamic AUROC: events by the horizon, each 1 / G(t-), against records that are free at it.

    (Uno et al., JASA 2007; Hung & Chiang, Canadian Journal of Statistics 2010.) Arguments as ``concordance_index``.

    Returns:
        [R], NaN without an event by the horizon or without a record that is free at it.
    """
    days, happened, weight = _check(time, event, weights)
    case = happened & (days <= horizon)
    free = ~case & (days >= horizon)
    status = np.where(case, 1.0, np.where(free, 0.0, np.nan))
    weight = np.where(case[:, None], weight / _under_observation(days, happened, weight, days), weight)
    return rank_metrics(status[:, None], _finite("risk", risk, days.shape)[:, None], weight)[0][0]


def brier_at(
    time: ArrayLike, event: ArrayLike, survival: ArrayLike, days: ArrayLike, weights: ArrayLike | None = None
) -> Floats:
    """Brier score of predicted survival at each of K days (Graf et al., Statistics in Medicine 1999).

    Args:
        time: [n].
        event: [n].
        survival: [n, K], predicted probability of being free of the event at each day.
        days: [K].
        weights: [n, R].

    Returns:
        [K, R]; NaN where nobody is under observation any more.
    """
    followed, happened, weight = _check(time, event, weights)
    at = np.asarray(days, dtype=np.float64)
    curve = _finite("survival", survival, (len(followed), len(at)))
    inverse = weight / _under_observation(followed, happened, weight, followed)
    observed = _under_observation(followed, happened, weight, at)
    scores = np.empty((len(at), weight.shape[1]))
    for k, day in enumerate(at):
        case = happened & (followed <= day)
        free = ~case & (followed >= day)
        errors = (curve[:, k] ** 2 * case) @ inverse, ((1 - curve[:, k]) ** 2 * free) @ weight
        scores[k] = _ratio(errors[0] + _ratio(errors[1], observed[k]), weight.sum(axis=0))
        if not (followed >= day).any():
            scores[k] = np.nan
    return scores


def integrated_brier(
    time: ArrayLike, event: ArrayLike, survival: ArrayLike, days: ArrayLike, weights: ArrayLike | None = None
) -> Floats:
    """Mean of the Brier score over the span of ``days`` by the trapezoid rule, [R]; arguments as ``brier_at``."""
    at = np.asarray(days, dtype=np.float64)
    return np.trapezoid(brier_at(time, event, survival, at, weights), at, axis=0) / (at[-1] - at[0])


def _check(time: ArrayLike, event: ArrayLike, weights: ArrayLike | None) -> tuple[Floats, NDArray[np.bool_], Floats]:
    days, happened = np.asarray(time, dtype=np.float64), np.asarray(event, dtype=np.float64)
    if days.ndim != 1 or days.shape != happened.shape:
        raise ValueError(f"time {days.shape} and event {happened.shape}: both must be [records]")
    if not (np.isfinite(days).all() and np.isin(happened, (0, 1)).all()):
        raise ValueError("time must be finite and event 0 or 1: leave out records whose follow-up is not known")
    weight = np.ones((len(days), 1)) if weights is None else np.asarray(weights, dtype=np.float64)
    if weight.ndim != 2 or len(weight) != len(days):
        raise ValueError(f"weights {weight.shape}: must be [{len(days)}, replicates]")
    return days, happened == 1, weight


def _finite(name: str, values: ArrayLike, shape: tuple[int, ...]) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.shape != shape or np.isnan(array).any():
        raise ValueError(f"{name} {array.shape} with {int(np.isnan(array).sum())} NaN: must be numbers {shape}")
    return array


def _under_observation(days: Floats, happened: NDArray[np.bool_], weight: Floats, at: Floats) -> Floats:
    """G(t-) at each of K times under each weighting, [K, R]; 1 instead of 0 where nobody is left to be weighted."""
    order = np.argsort(days, kind="stable")
    times, first = np.unique(days[order], return_index=True)
    leaving = np.add.reduceat(weight[order], first, axis=0)
    censored = np.add.reduceat(weight[order] * ~happened[order, None], first, axis=0)
    at_risk = np.cumsum(leaving[::-1], axis=0)[::-1] - (leaving - censored)
    stay = 1 - np.divide(censored, at_risk, out=np.zeros_like(censored), where=at_risk > 0)
    observed = np.concatenate([np.ones((1, weight.shape[1])), np.cumprod(stay, axis=0)])
    before = observed[np.searchsorted(times, at, side="left")]
    return np.where(before > 0, before, 1.0)


def _ratio(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)
