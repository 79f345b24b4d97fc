"""What each threshold of a score would do, and what the chosen ones do: ROC and precision-recall curves, decisions.

Labels are 1, 0 or NaN (unknown: that record is left out of that class).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from ssl_ecg.evaluation.calibration import _wilson
from ssl_ecg.evaluation.metrics import _check

POINTS = 100
"""thresholds of a curve at most, evenly over the ranks of its scores"""


def operating_curves(labels: ArrayLike, scores: ArrayLike, classes: Sequence[str]) -> pd.DataFrame:
    """Return sensitivity, specificity and precision of each class where it is named from each threshold on.

    Args:
        labels: [n, C], 1, 0 or NaN.
        scores: [n, C], larger is likelier.
        classes: names of the C columns.

    Returns:
        A row a class and threshold, from the highest threshold down: ``class``, ``threshold``, ``sensitivity``,
            ``specificity``, ``precision``. A class without known positives or negatives has no row.
    """
    label, score = _check(labels, scores)
    tables = []
    for c, name in enumerate(classes):
        known = ~np.isnan(label[:, c])
        truth, value = label[known, c] == 1, score[known, c]
        if truth.all() or not truth.any():
            continue
        order = np.argsort(-value, kind="stable")
        last = np.append(np.diff(value[order]) != 0, True)  # of records with equal scores: all or none are named
        true, named = np.cumsum(truth[order])[last], (np.flatnonzero(last) + 1)
        shown = np.unique(np.linspace(0, len(named) - 1, POINTS).round().astype(int))
        table = pd.DataFrame({"threshold": value[order][last], "sensitivity": true / truth.sum()})
        table["specificity"] = 1 - (named - true) / (~truth).sum()
        table["precision"] = true / named
        table.insert(0, "class", name)
        tables.append(table.iloc[shown])
    columns = ["class", "threshold", "sensitivity", "specificity", "precision"]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


def decisions_per_class(
    labels: ArrayLike, decisions: ArrayLike, thresholds: ArrayLike, classes: Sequence[str]
) -> pd.DataFrame:
    """Return what the decisions of each class are worth on these records, at their prevalence.

    Args:
        labels: [n, C], 1, 0 or NaN.
        decisions: [n, C], 0 or 1.
        thresholds: [C], from which they are named.
        classes: names of the C columns.

    Returns:
        A row a class: ``class``, ``threshold``, ``true_positives``, ``false_positives``, ``false_negatives``,
            ``true_negatives``; ``sensitivity``, ``specificity``, ``ppv`` and ``npv``, each with the ``_low`` and
            ``_high`` end of Wilson's 95 % interval of the records; blank where there is nothing to divide by.
    """
    label, decided = _check(labels, decisions)
    named = decided.astype(bool)
    counts = {
        "true_positives": (named & (label == 1)).sum(axis=0),
        "false_positives": (named & (label == 0)).sum(axis=0),
        "false_negatives": (~named & (label == 1)).sum(axis=0),
        "true_negatives": (~named & (label == 0)).sum(axis=0),
    }
    table = pd.DataFrame({"class": list(classes), "threshold": np.asarray(thresholds), **counts})
    shares = {
        "sensitivity": ("true_positives", "false_negatives"),
        "specificity": ("true_negatives", "false_positives"),
        "ppv": ("true_positives", "false_positives"),
        "npv": ("true_negatives", "false_negatives"),
    }
    for name, (right, wrong) in shares.items():
        among = (table[right] + table[wrong]).where(lambda count: count > 0)
        table[name] = table[right] / among
        table[f"{name}_low"], table[f"{name}_high"] = _wilson(table[right], among)
    return table
