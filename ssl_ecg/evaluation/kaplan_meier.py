"""Observed survival: Kaplan-Meier with numbers at risk, by group of predicted risk, and calibration at a horizon."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import CensoredData, ecdf


def kaplan_meier(time: ArrayLike, event: ArrayLike, days: ArrayLike | None = None, level: float = 0.95) -> pd.DataFrame:
    """Kaplan-Meier estimate (JASA 1958), scipy's, with numbers at risk.

    The interval has Greenwood's variance on the log-log scale, so that it stays in [0, 1].

    Args:
        time: [n], days to the event or to the end of follow-up.
        event: [n], 1 event, 0 censored; events precede censoring at the same time.
        days: [K], when to report; all distinct times if not given.
        level: coverage of the interval.

    Returns:
        A row a day: ``time``; ``at_risk``, records followed up to it; ``events`` up to and including it;
        ``survival``, ``low``, ``high`` after it (the interval is NaN where survival is 0 or 1).

    Raises:
        ValueError: no record, or a time or event that is not known.
    """
    followed, happened = np.asarray(time, dtype=np.float64), np.asarray(event, dtype=np.float64)
    if not len(followed) or not np.isfinite(followed).all() or not np.isin(happened, (0, 1)).all():
        raise ValueError(f"time and event: give at least one record and no unknown follow-up, got {len(followed)}")
    estimate = ecdf(CensoredData.right_censored(followed, happened == 0)).sf
    times, survival = estimate.quantiles, estimate.probabilities
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # no interval where survival is 0 or 1
        interval: Any = estimate.confidence_interval(level, method="log-log")
    inside = (survival > 0) & (survival < 1)
    low, high = (np.where(inside, limit.probabilities, np.nan) for limit in interval)
    at = times if days is None else np.asarray(days, dtype=np.float64)
    last = np.searchsorted(times, at, side="right")  # distinct times up to and including each day
    return pd.DataFrame(
        {
            "time": at,
            "at_risk": len(followed) - np.searchsorted(np.sort(followed), at, side="left"),
            "events": np.searchsorted(np.sort(followed[happened == 1]), at, side="right"),
            "survival": np.append(1.0, survival)[last],
            "low": np.append(np.nan, low)[last],
            "high": np.append(np.nan, high)[last],
        }
    )


def risk_groups(risk: ArrayLike, groups: int = 4) -> NDArray[np.int64]:
    """Group each record by the rank of its risk, [n] from 0 (lowest) to ``groups - 1``; equal risks stay together.

    Raises:
        ValueError: fewer than one group.
    """
    if groups < 1:
        raise ValueError(f"groups={groups}: must be at least 1")
    score = np.asarray(risk, dtype=np.float64)
    below = np.searchsorted(np.sort(score), score, side="left")
    return (below * groups // max(1, len(score))).astype(np.int64)


def kaplan_meier_by_group(time: ArrayLike, event: ArrayLike, group: ArrayLike, days: ArrayLike) -> pd.DataFrame:
    """``kaplan_meier`` of each group at the same days: column ``group`` and those of ``kaplan_meier``."""
    followed, happened, member = np.asarray(time), np.asarray(event), np.asarray(group)
    tables = [
        kaplan_meier(followed[member == g], happened[member == g], days).assign(group=g) for g in np.unique(member)
    ]
    table = pd.concat(tables, ignore_index=True)
    return table[["group", *table.columns.drop("group")]]


def calibration_at(
    time: ArrayLike, event: ArrayLike, risk: ArrayLike, horizon: float, groups: int = 10
) -> pd.DataFrame:
    """Predicted against observed risk at a horizon, by group of predicted risk.

    Args:
        time: [n].
        event: [n].
        risk: [n], predicted probability of the event by the horizon.
        horizon: days.
        groups: how many, of nearly equal size.

    Returns:
        A row a group: ``group``, ``records``, ``predicted`` (mean risk), ``observed`` (one minus Kaplan-Meier at the
        horizon) with ``low`` and ``high``, and ``at_risk``, records still followed at the horizon: where it is 0, the
        observed risk is that of the last day on which it was not.
    """
    score = np.asarray(risk, dtype=np.float64)
    member = risk_groups(score, groups)
    table = kaplan_meier_by_group(time, event, member, [horizon])
    return pd.DataFrame(
        {
            "group": table["group"],
            "records": [int((member == g).sum()) for g in table["group"]],
            "predicted": [float(score[member == g].mean()) for g in table["group"]],
            "observed": 1 - table["survival"],
            "low": 1 - table["high"],
            "high": 1 - table["low"],
            "at_risk": table["at_risk"],
        }
    )
