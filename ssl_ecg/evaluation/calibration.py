"""Are probabilities what they say? Reliability by tenth, expected calibration error and Brier score of each class.

Labels are 1, 0 or NaN (unknown: that record is left out of that class).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

from ssl_ecg.evaluation.kaplan_meier import risk_groups
from ssl_ecg.evaluation.metric import Metric
from ssl_ecg.evaluation.metrics import _check

BRIER = Metric("brier", "Brier score", "Mean squared error of the predicted risk; lower is better.", True)
BINS = 10


def reliability(labels: ArrayLike, scores: ArrayLike, classes: Sequence[str], groups: int = BINS) -> pd.DataFrame:
    """Predicted against observed frequency, by tenth of the records with the probability of each class.

    Bins of equal width would hold nearly all records of a rare class in one.

    Args:
        labels: [n, C], 1, 0 or NaN (unknown).
        scores: [n, C], probabilities.
        classes: names of the C classes.
        groups: how many, of nearly equal size; fewer where probabilities tie, since equal ones stay together.

    Returns:
        A row a class and group, from the lowest probabilities upwards: ``class``, ``group``, ``records``,
        ``positives``, ``predicted`` (mean probability) and ``observed`` (share of positives) with ``low`` and ``high``,
        the 95 % interval of Wilson (JASA 1927). A class of which no label is known has no row.

    Raises:
        ValueError: Shapes differ, labels are not 0, 1 or NaN, or a score is not between 0 and 1.
    """
    label, score = _probabilities(labels, scores)
    tables = []
    for c, name in enumerate(classes):
        known = ~np.isnan(label[:, c])
        member = risk_groups(score[known, c], groups)
        rows = pd.DataFrame({"group": member, "label": label[known, c], "score": score[known, c]}).groupby("group")
        counts = {"records": rows.size(), "positives": rows["label"].sum().astype(int)}
        means = {"predicted": rows["score"].mean(), "observed": rows["label"].mean()}
        table = pd.DataFrame({**counts, **means}).reset_index()
        table["low"], table["high"] = _wilson(table["positives"], table["records"])
        table.insert(0, "class", name)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def calibration_error(labels: ArrayLike, scores: ArrayLike, bins: int = BINS) -> NDArray[np.float64]:
    """Expected calibration error of each class: the mean over records of |predicted - observed| of their bin.

    The definition is that of Naeini et al. (AAAI 2015), for the probability of each class.

    Args:
        labels: [n, C], 1, 0 or NaN (unknown).
        scores: [n, C], probabilities.
        bins: of equal width between 0 and 1; a score on a border belongs to the upper one.

    Returns:
        [C], NaN where no label is known.

    Raises:
        ValueError: Shapes differ, labels are not 0, 1 or NaN, a score is not between 0 and 1, or no bin is wanted.
    """
    label, score = _probabilities(labels, scores)
    if bins < 1:
        raise ValueError(f"bins={bins}: must be at least 1")
    errors = np.full(label.shape[1], np.nan)
    for c in np.flatnonzero(~np.isnan(label).all(axis=0)):
        known = ~np.isnan(label[:, c])
        index = np.minimum((score[known, c] * bins).astype(int), bins - 1)
        errors[c] = np.abs(np.bincount(index, score[known, c] - label[known, c])).sum() / known.sum()
    return errors


def coverage(
    labels: ArrayLike, scores: ArrayLike, level: float = 0.9
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How often the answer is right that probabilities of each class give, and how often there is one.

    The answer is the smallest set of outcomes to which at least ``level`` of the probability belongs: present, absent,
    or both where neither is that probable. Where probabilities are right, ``level`` of the answers are, or more.

    Args:
        labels: [n, C], 1, 0 or NaN (unknown).
        scores: [n, C], probabilities.
        level: above .5 and below 1.

    Returns:
        The share of the known records whose label is in the answer, and the share whose answer is one outcome, [C];
        NaN where no label is known.

    Raises:
        ValueError: Shapes differ, labels are not 0, 1 or NaN, a score is not between 0 and 1, or another level.
    """
    label, score = _probabilities(labels, scores)
    if not 0.5 < level < 1:
        raise ValueError(f"level={level}: must be above .5 and below 1")
    known = ~np.isnan(label)
    sure = (np.maximum(score, 1 - score) >= level) & known
    wrong = sure & ((score > 0.5) != (label == 1))
    count = known.sum(axis=0).astype(np.float64)
    count[count == 0] = np.nan
    return 1 - wrong.sum(axis=0) / count, sure.sum(axis=0) / count


def brier_per_class(labels: ArrayLike, scores: ArrayLike) -> NDArray[np.float64]:
    """Brier score of each class: mean squared difference of probability and label (Brier 1950); lower is better.

    Args:
        labels: [n, C], 1, 0 or NaN (unknown).
        scores: [n, C], probabilities.

    Returns:
        [C], NaN where no label is known.
    """
    return brier_scores(labels, scores, np.ones((len(np.asarray(labels)), 1)))[:, 0]


def brier_scores(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike) -> NDArray[np.float64]:
    """Brier score of each class under each of R weightings of the records.

    Args:
        labels: [n, C], 1, 0 or NaN (unknown).
        scores: [n, C], probabilities.
        weights: [n, R], not negative.

    Returns:
        [C, R], NaN where no label is known.
    """
    label, score = _check(labels, scores)
    weight = np.asarray(weights, dtype=np.float64)
    total = (~np.isnan(label)).T.astype(np.float64) @ weight
    errors = np.nan_to_num((score - label) ** 2).T @ weight
    return np.divide(errors, total, out=np.full_like(errors, np.nan), where=total > 0)


def _probabilities(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    label, score = _check(labels, scores)
    if ((score < 0) | (score > 1)).any():
        raise ValueError(f"scores from {score.min():g} to {score.max():g}: probabilities lie between 0 and 1")
    return label, score


def _wilson(positives: pd.Series, records: pd.Series, level: float = 0.95) -> tuple[pd.Series, pd.Series]:
    z = norm.ppf((1 + level) / 2)
    centre = (positives + z**2 / 2) / (records + z**2)
    spread = z * np.sqrt(positives * (records - positives) / records + z**2 / 4) / (records + z**2)
    return (centre - spread).clip(lower=0), (centre + spread).clip(upper=1)
