"""How many patients stand behind a metric, and what follows for the spread of its bootstrap replicates.

A draw of k patients from k with replacement has (k - 1) / k of the variance of k new ones, and a variance estimated
from k patients has k - 1 degrees of freedom. With few positives both matter: percentiles of 5 positives cover .71 to
.83 where they promise .95. The count that matters is that of the smaller side: patients with the outcome or without.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssl_ecg.evaluation.metrics import undefined_classes

ENOUGH = 10
"""Patients with the outcome, and without it, below which nothing is judged."""


class Support(NamedTuple):
    """What stands behind a metric.

    Attributes:
        positives: patients with the outcome; of several outcomes that of which fewest patients are, or are not.
        negatives: patients without it.
        inflation: what the variance of bootstrap replicates is multiplied by.
        freedom: degrees of freedom of that variance.
        judged: whether there are enough for a verdict and a p-value.
    """

    positives: int
    negatives: int
    inflation: float
    freedom: float
    judged: bool


def support(patient: ArrayLike, outcome: ArrayLike, averaged: bool = True) -> Support:
    """Count the patients behind a metric of some outcomes.

    Of one outcome with k patients on its smaller side the inflation is k / (k - 1) and there are k - 1 degrees of
    freedom. An average over outcomes has the variance sum(v / k) of which draws show sum(v (k - 1) / k^2), with equal v
    for all, and Satterthwaite's degrees of freedom of that sum: few patients of one outcome weigh as they do in the
    average. An outcome of a single patient never varies between draws and is made up for so.

    Judged is what has ten patients with and ten without some outcome, and nine degrees of freedom.

    Args:
        patient: [n], any ids.
        outcome: [n, K], 1, 0 or NaN (unknown); outcomes of one value only are passed over.
        averaged: whether the metric is a mean over the outcomes; if not, the rarest one decides, as of a disease and
            the disease within a year.

    Returns:
        The counts; ``inflation`` and ``freedom`` are NaN where no outcome has two patients on either side.

    Raises:
        ValueError: no outcome has both values.
    """
    known = np.asarray(outcome, dtype=np.float64)
    known = known[:, ~undefined_classes(known)]
    if not known.shape[1]:
        raise ValueError("no class has both a positive and a negative record, so there is nothing to bootstrap")
    person = np.unique(np.asarray(patient), return_inverse=True)[1]
    positive, negative = _members(person, known == 1), _members(person, known == 0)
    counts = np.stack([positive.sum(axis=0), negative.sum(axis=0)])  # [2, K]
    if not averaged:
        counts = counts[:, [counts.min(axis=0).argmin()]]
    least = counts.min(axis=0)
    positives, negatives = counts[:, least.argmin()].tolist()
    shown = (least - 1) / least**2
    if not shown.any():
        return Support(positives, negatives, np.nan, np.nan, False)
    freedom = shown.sum() ** 2 / np.sum(shown[least > 1] ** 2 / (least[least > 1] - 1))
    # Of equal counts rounding makes 9 degrees of freedom a little less.
    judged = bool(least.max() >= ENOUGH and round(freedom, 6) >= ENOUGH - 1)
    return Support(positives, negatives, float(np.sum(1 / least) / shown.sum()), float(freedom), judged)


def _members(person: NDArray[np.intp], holds: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which patients have a record of which this holds, [patients, K]."""
    members = np.zeros((person.max() + 1, holds.shape[1]), dtype=bool)
    np.logical_or.at(members, person, holds)
    return members
