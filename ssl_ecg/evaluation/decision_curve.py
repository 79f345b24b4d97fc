"""Decision curves: what acting on a predicted risk is worth, against acting on everyone or on no one.

Who acts from a probability of p on weighs a needless action as p / (1 - p) of a missed event. The net benefit is the
rate of events among all records that are acted on, less that of needless actions at this weight (Vickers & Elkin,
Medical Decision Making 2006):

    net benefit = named x (rate - (1 - rate) x p / (1 - p))

with ``named`` the share of records whose risk is at least p, and ``rate`` the rate of events among those.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ssl_ecg.evaluation.kaplan_meier import kaplan_meier

THRESHOLDS = np.arange(1, 51) / 100

Floats = NDArray[np.float64]


def decision_curve(
    labels: ArrayLike, probabilities: ArrayLike, thresholds: ArrayLike | None = None, weights: ArrayLike | None = None
) -> pd.DataFrame:
    """Net benefit of acting on the records whose predicted probability reaches a threshold.

    Args:
        labels: [n], 1, 0 or NaN (unknown: left out).
        probabilities: [n], between 0 and 1.
        thresholds: [K], between 0 and 1, both excluded; .01, .02 ... .5 if not given.
        weights: [n], not negative; ones if not given.

    Returns:
        A row a threshold: ``threshold``; ``net_benefit``; ``treat_all`` and ``treat_none``, that of acting on everyone
        and on no one (0); ``named``, the share of records that reach the threshold.

    Raises:
        ValueError: sizes differ, a value is impossible, or no label is known.
    """
    label, chance, cut = np.asarray(labels, dtype=np.float64), _probabilities(probabilities), _thresholds(thresholds)
    weight = np.ones_like(label) if weights is None else np.asarray(weights, dtype=np.float64)
    if label.shape != chance.shape or weight.shape != chance.shape:
        raise ValueError(
            f"labels {label.shape}, probabilities {chance.shape}, weights {weight.shape}: must be [records]"
        )
    if not (np.isnan(label) | np.isin(label, (0, 1))).all() or not (weight >= 0).all():
        raise ValueError("labels must be 0, 1 or NaN (unknown), and weights not negative")
    known = np.flatnonzero(~np.isnan(label))
    order = known[np.argsort(-chance[known], kind="stable")]
    reached = np.searchsorted(-chance[order], -cut, side="right")  # how many records reach each threshold
    above, events = (np.append(0, np.cumsum(w)) for w in (weight[order], weight[order] * label[order]))
    if not above[-1] > 0:
        raise ValueError(f"labels: none of {len(label)} records has a known label and a weight above 0")
    rate = np.divide(events[reached], above[reached], out=np.zeros(len(cut)), where=above[reached] > 0)
    return _curve(cut, above[reached] / above[-1], rate, events[-1] / above[-1])


def decision_curves(labels: ArrayLike, probabilities: ArrayLike, classes: Sequence[str]) -> pd.DataFrame:
    """Return ``decision_curve`` of every class that has positives and negatives, below each other.

    Args:
        labels: [n, C], 1, 0 or NaN (unknown).
        probabilities: [n, C].
        classes: names of the C classes, for the column ``class``.
    """
    label, chance = np.asarray(labels, dtype=np.float64), np.asarray(probabilities)
    tables = [decision_curve([1, 0], [1, 0]).iloc[:0].assign(**{"class": ""})]
    for c, name in enumerate(classes):
        if (label[:, c] == 1).any() and (label[:, c] == 0).any():
            tables.append(decision_curve(label[:, c], chance[:, c]).assign(**{"class": name}))
    return pd.concat(tables[1:] or tables, ignore_index=True)


def decision_curve_at(
    time: ArrayLike, event: ArrayLike, risk: ArrayLike, horizon: float, thresholds: ArrayLike | None = None
) -> pd.DataFrame:
    """``decision_curve`` of censored outcomes, with the rate of events by a horizon from Kaplan-Meier.

    The rate is one minus the Kaplan-Meier estimate among the records that reach the threshold (Vickers et al., BMC
    Medical Informatics and Decision Making 2008); where none of them is followed to the horizon, that of the last day.

    Args:
        time: [n], days to the event or to the end of follow-up.
        event: [n], 1 event, 0 censored.
        risk: [n], predicted probability of the event by the horizon.
        horizon: days.
        thresholds: [K], as in ``decision_curve``.

    Returns:
        As ``decision_curve``.

    Raises:
        ValueError: sizes differ, a value is impossible, or a follow-up is not known.
    """
    days, happened, chance = np.asarray(time), np.asarray(event), _probabilities(risk)
    if days.shape != chance.shape or happened.shape != chance.shape:
        raise ValueError(f"time {days.shape}, event {happened.shape}, risk {chance.shape}: must be [records]")

    def rate(kept: NDArray[np.bool_]) -> float:
        return 1 - float(kaplan_meier(days[kept], happened[kept], [horizon])["survival"].iloc[0]) if kept.any() else 0.0

    cut = _thresholds(thresholds)
    named = chance >= cut[:, None]  # [K, n]
    rates = np.array([rate(kept) for kept in named])
    return _curve(cut, named.mean(axis=1), rates, rate(np.ones(len(chance), dtype=bool)))


def _curve(cut: Floats, named: Floats, rate: Floats, everyone: float) -> pd.DataFrame:
    odds = cut / (1 - cut)
    return pd.DataFrame(
        {
            "threshold": cut,
            "net_benefit": named * rate - named * (1 - rate) * odds,
            "treat_all": everyone - (1 - everyone) * odds,
            "treat_none": 0.0,
            "named": named,
        }
    )


def _thresholds(thresholds: ArrayLike | None) -> Floats:
    cut = THRESHOLDS if thresholds is None else np.asarray(thresholds, dtype=np.float64)
    if cut.ndim != 1 or not ((cut > 0) & (cut < 1)).all():
        raise ValueError(f"thresholds={cut.tolist()}: choose a list of probabilities between 0 and 1, both excluded")
    return cut


def _probabilities(values: ArrayLike) -> Floats:
    chance = np.asarray(values, dtype=np.float64)
    if chance.ndim != 1 or not len(chance) or not ((chance >= 0) & (chance <= 1)).all():
        raise ValueError(
            f"probabilities {chance.shape}: give a list of at least one number, each between 0 and 1 (not logits)"
        )
    return chance
