from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from ssl_ecg.evaluation import brier_per_class, brier_scores, calibration_error, reliability


def records(n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    scores = rng.random((n, 2)) * (1.0, 0.6)
    return (rng.random((n, 2)) < scores**2).astype(float), scores


def test_the_table_is_scikit_learns_calibration_curve_by_quantile() -> None:
    labels, scores = records()
    labels[:100, 1] = np.nan
    table = reliability(labels, scores, ("a", "b"))
    assert table["class"].tolist() == ["a"] * 10 + ["b"] * 10
    for c, name in enumerate("ab"):
        known, rows = ~np.isnan(labels[:, c]), table[table["class"] == name]
        observed, predicted = calibration_curve(labels[known, c], scores[known, c], n_bins=10, strategy="quantile")
        np.testing.assert_allclose(rows["observed"], observed)
        np.testing.assert_allclose(rows["predicted"], predicted)
        assert (rows["records"] == known.sum() / 10).all()
        assert (rows["records"].sum(), rows["positives"].sum()) == (known.sum(), np.nansum(labels[:, c]))
        for row in rows.itertuples():
            expected = binomtest(row.positives, row.records).proportion_ci(method="wilson")
            assert (row.low, row.high) == pytest.approx((expected.low, expected.high))


def test_a_rare_class_has_ten_points_and_equal_probabilities_one() -> None:
    rng = np.random.default_rng(0)
    rare = rng.beta(1, 30, 2000)
    constant = np.full(2000, 0.25)
    labels = (rng.random((2000, 3)) < np.column_stack([rare, constant, constant])).astype(float)
    labels[:, 2] = np.nan
    scores = np.column_stack([rare, constant, constant])
    table = reliability(labels, scores, ("rare", "constant", "unknown"))
    assert table["class"].value_counts().to_dict() == {"rare": 10, "constant": 1}
    assert (table.loc[table["class"] == "rare", "records"] == 200).all()
    assert table["predicted"].iloc[:10].is_monotonic_increasing
    half = np.r_[np.zeros(1500), rng.random(500)]
    ties = reliability(labels[:, :1], half[:, None], ("a",))
    assert ties["records"].tolist() == [1500, 100, 200, 200]


def test_the_error_is_torchmetrics() -> None:
    from torchmetrics.functional.classification import binary_calibration_error

    labels, scores = records()
    pairs = zip(torch.from_numpy(scores.T.copy()), torch.from_numpy(labels.T.copy()).int())
    expected = [binary_calibration_error(score, label, n_bins=10) for score, label in pairs]
    np.testing.assert_allclose(calibration_error(labels, scores), np.array(expected), atol=1e-6)


def test_the_brier_score_is_scikit_learns() -> None:
    labels, scores = records()
    expected = [brier_score_loss(labels[:, c], scores[:, c]) for c in range(2)]
    np.testing.assert_allclose(brier_per_class(labels, scores), expected)


def test_unknown_labels_do_not_count() -> None:
    labels, scores = records()
    known = np.arange(300) >= 100
    masked = np.where(known[:, None], labels, np.nan)
    for metric in (calibration_error, brier_per_class):
        np.testing.assert_allclose(metric(masked, scores), metric(labels[known], scores[known]))
        masked_out = np.where(np.arange(2) == 1, np.nan, labels)
        np.testing.assert_array_equal(np.isnan(metric(masked_out, scores)), [False, True])


def test_a_score_of_one_is_in_the_last_bin_and_others_are_refused() -> None:
    assert calibration_error([[1.0], [0.0], [1.0]], [[1.0], [0.0], [0.5]], bins=2) == pytest.approx(0.5 / 3)
    for calibrated in (lambda labels, scores: reliability(labels, scores, ("a",)), calibration_error):
        with pytest.raises(ValueError, match="probabilities lie between 0 and 1"):
            calibrated([[1.0]], [[1.5]])
    with pytest.raises(ValueError, match="bins=0"):
        calibration_error([[1.0]], [[0.5]], bins=0)


def test_brier_scores_are_scikit_learns_under_every_weighting() -> None:
    rng = np.random.default_rng(3)
    labels, scores = (rng.random((40, 2)) < 0.3).astype(float), rng.random((40, 2))
    labels[::6, 1] = np.nan
    weights = rng.integers(0, 3, (40, 5))
    found = brier_scores(labels, scores, weights)
    for c in range(2):
        known = ~np.isnan(labels[:, c])
        for r in range(5):
            expected = brier_score_loss(labels[known, c], scores[known, c], sample_weight=weights[known, r])
            assert found[c, r] == pytest.approx(expected)
    assert np.isnan(brier_scores(labels, scores, np.zeros((40, 1)))).all()
