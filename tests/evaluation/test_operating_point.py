from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import recall_score, roc_curve

from ssl_ecg.evaluation import sensitivity_and_specificity, sensitivity_at_specificity, threshold_at_specificity


def records(n: int = 90, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels and scores of three classes, with many ties in the scores."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((n, 3)) < (0.1, 0.4, 0.8)).astype(float)
    return labels, np.clip(0.3 * labels + rng.normal(0.3, 0.2, (n, 3)), 0, 1).round(2)


@pytest.mark.parametrize("specificity", [0.5, 0.7, 0.9, 1.0])
def test_sensitivity_is_that_of_the_roc_curve_of_every_weighting(specificity: float) -> None:
    labels, scores = records()
    labels[::7, 1] = np.nan
    weights = np.random.default_rng(1).integers(0, 4, (len(labels), 6))
    found = sensitivity_at_specificity(labels, scores, specificity, weights)
    for c in range(3):
        known = ~np.isnan(labels[:, c])
        for r in range(6):
            false, true, _ = roc_curve(
                labels[known, c], scores[known, c], sample_weight=weights[known, r], drop_intermediate=False
            )
            assert found[c, r] == pytest.approx(true[false <= 1 - specificity + 1e-9].max())


def test_exactly_a_tenth_of_the_negatives_may_be_named_at_a_specificity_of_nine_tenths() -> None:
    labels = np.array([1.0, 1.0] + 10 * [0.0])[:, None]
    scores = np.array([0.9, 0.6, 0.7] + 9 * [0.1])[:, None]
    assert sensitivity_at_specificity(labels, scores, 0.9).item() == 1
    assert sensitivity_at_specificity(labels, scores, 0.91).item() == 0.5
    # Half-way between the second highest negative and the next higher score, or between the highest and that.
    assert threshold_at_specificity(labels, scores, 0.9).item() == pytest.approx(0.35)
    assert threshold_at_specificity(labels, scores, 0.91).item() == pytest.approx(0.8)


def test_sensitivity_needs_both_outcomes() -> None:
    found = sensitivity_at_specificity([[1, 0, np.nan, 1], [1, 0, np.nan, 0]], np.full((2, 4), 0.5), 0.9)
    assert np.isnan(found[:3]).all()
    assert found[3, 0] == 0  # a tie cannot be told apart


@pytest.mark.parametrize("specificity", [0.5, 0.9, 0.95, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_threshold_is_the_lowest_that_keeps_the_specificity(specificity: float, seed: int) -> None:
    labels, scores = records(60, seed)
    thresholds = threshold_at_specificity(labels, scores, specificity)
    sensitivity, kept = (values[:, 0] for values in sensitivity_and_specificity(labels, scores >= thresholds))
    assert (kept >= specificity - 1e-9).all()
    np.testing.assert_allclose(sensitivity, sensitivity_at_specificity(labels, scores, specificity)[:, 0])
    for c in range(3):  # at the next lower score of any record it is lost
        lower = scores[scores[:, c] < thresholds[c], c].max()
        assert (scores[labels[:, c] == 0, c] < lower).mean() < specificity


def test_a_threshold_above_all_scores_and_one_without_negatives() -> None:
    assert threshold_at_specificity([[0.0], [1.0]], [[0.6], [0.2]], 0.9).item() == pytest.approx(0.8)
    assert threshold_at_specificity([[1.0], [np.nan]], [[0.6], [0.2]], 0.9).item() == 0.5
    high = np.nextafter(0.5, 1)  # no number lies half-way
    assert threshold_at_specificity([[0.0], [1.0]], [[0.5], [high]], 0.9).item() == high


def test_sensitivity_and_specificity_are_scikit_learns_recalls_under_weights() -> None:
    labels, scores = records()
    labels[::5, 0] = np.nan
    decisions, weights = scores >= 0.4, np.random.default_rng(2).integers(0, 4, (len(labels), 4))
    for found, outcome in zip(sensitivity_and_specificity(labels, decisions, weights), (1, 0)):
        for c in range(3):
            known = ~np.isnan(labels[:, c])
            for r in range(4):
                truth, said, weight = labels[known, c], decisions[known, c], weights[known, r]
                assert found[c, r] == pytest.approx(recall_score(truth, said, pos_label=outcome, sample_weight=weight))


def test_shares_that_cannot_be_are_named() -> None:
    labels, scores = records()
    with pytest.raises(ValueError, match=r"specificity=90: choose a share"):
        sensitivity_at_specificity(labels, scores, 90)
    with pytest.raises(ValueError, match=r"specificity=0: choose a share"):
        threshold_at_specificity(labels, scores, 0)
    with pytest.raises(ValueError, match=r"weights must be \[90, replicates\]"):
        sensitivity_at_specificity(labels, scores, 0.9, np.ones((3, 2)))
