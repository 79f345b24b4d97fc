"""Curves and decisions against scikit-learn and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, precision_recall_curve, roc_curve

from ssl_ecg.evaluation import decisions_per_class, operating_curves


def data(count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, (count, 2)).astype(float)
    scores = np.round(np.clip(0.3 * labels + 0.7 * rng.random((count, 2)), 0, 1), 1)  # with ties
    labels[:7, 1] = np.nan
    return labels, scores


def test_curves_are_those_of_scikit_learn() -> None:
    labels, scores = data(60)
    table = operating_curves(labels, scores, ("a", "b"))
    for c, name in enumerate(("a", "b")):
        known, curve = ~np.isnan(labels[:, c]), table[table["class"] == name]
        wrong, found, cuts = roc_curve(labels[known, c], scores[known, c], drop_intermediate=False)
        np.testing.assert_allclose(curve["threshold"], cuts[1:])
        np.testing.assert_allclose(curve["sensitivity"], found[1:])
        np.testing.assert_allclose(1 - curve["specificity"], wrong[1:], atol=1e-12)
        precision, _, cuts = precision_recall_curve(labels[known, c], scores[known, c])
        np.testing.assert_allclose(curve["precision"], precision[:-1][::-1])


def test_long_curves_are_thinned_and_undefined_ones_left_out() -> None:
    rng = np.random.default_rng(0)
    labels = np.column_stack([rng.integers(0, 2, 500), np.ones(500)]).astype(float)
    table = operating_curves(labels, rng.random((500, 2)), ("a", "b"))
    assert set(table["class"]) == {"a"}
    assert len(table) == 100
    assert table["sensitivity"].iloc[-1] == 1


def test_decisions_are_counted_with_wilsons_intervals() -> None:
    labels, scores = data(60)
    table = decisions_per_class(labels, scores >= 0.5, (0.5, 0.5), ("a", "b"))
    for c in range(2):
        known, row = ~np.isnan(labels[:, c]), table.iloc[c]
        (tn, fp), (fn, tp) = confusion_matrix(labels[known, c], scores[known, c] >= 0.5)
        assert row[["true_positives", "false_positives", "false_negatives", "true_negatives"]].tolist() == [
            tp,
            fp,
            fn,
            tn,
        ]
        for name, right, among in (("sensitivity", tp, tp + fn), ("specificity", tn, tn + fp), ("ppv", tp, tp + fp)):
            ends = binomtest(int(right), int(among)).proportion_ci(method="wilson")
            assert row[name] == pytest.approx(right / among)
            assert row[[f"{name}_low", f"{name}_high"]].tolist() == pytest.approx([ends.low, ends.high])
    nobody = decisions_per_class(np.zeros((3, 1)), np.zeros((3, 1)), [0.5], ["a"])
    assert nobody[["sensitivity", "ppv", "ppv_low"]].isna().all(axis=None)
