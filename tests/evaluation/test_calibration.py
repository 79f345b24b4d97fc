from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from ssl_ecg.evaluation import brier_per_class, brier_scores, calibration_error, reliability


def records(n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    scores = rng.random((n, 2)) * (1.0, 0.6)
    return (rng.random((n, 2)) < scores**2).astype(float), scores


def test_the_table_is_scikit_learns_calibration_curve() -> None:
    labels, scores = records()
    table = reliability(labels, scores, ("a", "b"))
    for c, name in enumerate("ab"):
        rows = table[table["class"] == name]
        observed, predicted = calibration_curve(labels[:, c], scores[:, c], n_bins=10)
        np.testing.assert_allclose(rows["observed"].dropna(), observed)
        np.testing.assert_allclose(rows["predicted"].dropna(), predicted)
        np.testing.assert_array_equal(rows["records"], np.histogram(scores[:, c], bins=10, range=(0, 1))[0])
        assert rows["positives"].sum() == labels[:, c].sum()
    empty = table[table["records"] == 0]
    assert len(empty) == 4
    assert empty[["predicted", "observed"]].isna().all(axis=None)


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
    table = reliability([[1.0], [0.0], [1.0]], [[1.0], [0.0], [0.5]], ("a",), bins=2)
    assert table["records"].tolist() == [1, 2]
    with pytest.raises(ValueError, match="probabilities lie between 0 and 1"):
        calibration_error([[1.0]], [[1.5]])
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
