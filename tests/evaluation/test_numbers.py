"""Predicted numbers against scikit-learn and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn.metrics import mean_absolute_error

from ssl_ecg.evaluation import absolute_error, correlation


def test_weights_are_how_often_records_count() -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(20, 90, 40)
    predicted = truth + rng.normal(scale=12, size=40)
    weights = rng.integers(0, 4, size=(40, 5)).astype(np.uint16)
    found = absolute_error(truth, predicted, weights), correlation(truth, predicted, weights)
    for r, drawn in enumerate(weights.T):
        often = np.repeat(truth, drawn), np.repeat(predicted, drawn)
        assert found[0][r] == pytest.approx(mean_absolute_error(*often))
        assert found[1][r] == pytest.approx(pearsonr(*often).statistic)
        assert found[0][r] == pytest.approx(mean_absolute_error(truth, predicted, sample_weight=drawn))


def test_nothing_drawn_and_numbers_without_variance_give_none() -> None:
    truth, weights = np.array([50.0, 60, 70]), np.array([[1, 0, 1], [1, 0, 0], [1, 0, 0]])
    assert np.isnan(absolute_error(truth, truth + 1, weights)).tolist() == [False, True, False]
    assert np.isnan(correlation(truth, truth + 1, weights)).tolist() == [False, True, True]
    assert np.isnan(correlation(truth, np.full(3, 60.1), weights)).all()
    assert correlation(truth + 1e6, -truth - 1e6, weights)[0] == pytest.approx(-1)
