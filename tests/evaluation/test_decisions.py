from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, precision_recall_curve

from ssl_ecg.evaluation import best_thresholds, decision_metrics, evolved_thresholds, f1_per_class


def records(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels and scores of three classes, with many ties in the scores."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((n, 3)) < (0.1, 0.4, 0.8)).astype(float)
    return labels, np.clip(0.4 * labels + rng.normal(0.3, 0.2, (n, 3)), 0, 1).round(2)


@pytest.mark.parametrize("seed", range(5))
def test_no_threshold_has_a_higher_f1(seed: int) -> None:
    labels, scores = records(80, seed)
    thresholds = best_thresholds(labels, scores)
    for c in range(3):
        precision, recall, _ = precision_recall_curve(labels[:, c], scores[:, c])
        best = np.max(2 * precision * recall / np.maximum(precision + recall, 1e-12))
        assert f1_score(labels[:, c], scores[:, c] >= thresholds[c]) == pytest.approx(best)


def test_the_highest_of_equally_good_thresholds_lies_half_way_to_the_next_score() -> None:
    # Named from .9: F1 = 2/3; from .4: 2 * 2 / (4 + 2) = 2/3 as well; from .3: 4/7.
    labels, scores = [[1.0], [0.0], [0.0], [1.0], [0.0]], [[0.9], [0.6], [0.5], [0.4], [0.3]]
    assert best_thresholds(labels, scores).item() == pytest.approx(0.75)
    assert best_thresholds([[1.0], [1.0], [0.0]], [[0.9], [0.4], [0.2]]).item() == pytest.approx(0.3)
    assert best_thresholds([[1.0], [1.0]], [[0.9], [0.4]]).item() == 0.4
    # Between neighbours no number lies half-way.
    low = np.nextafter(0.5, 0)
    assert best_thresholds([[1.0], [0.0]], [[0.5], [low]]).item() == 0.5


def test_without_positives_the_threshold_is_a_half_and_unknown_labels_do_not_count() -> None:
    labels, scores = records(60)
    unknown = np.arange(60) % 3 == 0
    labels[unknown, 1] = np.nan
    labels[:, 2] = np.where(unknown, np.nan, 0)
    found = best_thresholds(labels, scores)
    assert found[2] == 0.5
    assert found[1] == best_thresholds(labels[~unknown, 1:2], scores[~unknown, 1:2])[0]


def test_f1_and_subset_accuracy_are_scikit_learns_under_weights() -> None:
    labels, scores = records(70)
    decisions = (scores >= 0.5).astype(float)
    weights = np.random.default_rng(1).integers(0, 4, (70, 6))
    found = decision_metrics(labels, decisions, weights)
    for r in range(6):
        f1 = f1_score(labels, decisions, average=None, sample_weight=weights[:, r])
        np.testing.assert_allclose(f1_per_class(labels, decisions, weights)[:, r], f1)
        assert found["macro_f1"][r] == pytest.approx(f1.mean())
        assert found["subset_accuracy"][r] == pytest.approx(
            accuracy_score(labels, decisions, sample_weight=weights[:, r])
        )
    repeated = np.repeat(np.arange(70), weights[:, 0])
    once = decision_metrics(labels[repeated], decisions[repeated], np.ones((len(repeated), 1)))
    assert found["macro_f1"][0] == pytest.approx(once["macro_f1"][0])


def test_classes_without_both_outcomes_are_left_out_and_unknown_labels_are_masked() -> None:
    labels, scores = records(50)
    decisions = (scores >= 0.5).astype(float)
    expected = f1_score(labels[10:, 0], decisions[10:, 0])
    labels[:10, 0] = np.nan
    labels[:, 1] = 0
    labels[:, 2] = 1
    f1 = f1_per_class(labels, decisions)[:, 0]
    assert f1[0] == pytest.approx(expected)
    assert np.isnan(f1[1:]).all()
    found = decision_metrics(labels, decisions, np.ones((50, 1)))
    assert found["macro_f1"][0] == pytest.approx(expected)
    assert found["subset_accuracy"][0] == pytest.approx(accuracy_score(labels[10:], decisions[10:]))
    labels[:, 0] = np.where(np.arange(50) < 10, labels[:, 0], 1)
    nothing_complete = np.where(np.arange(3) == 1, np.nan, labels)
    assert np.isnan(decision_metrics(nothing_complete, decisions, np.ones((50, 1)))["subset_accuracy"][0])


def test_wrong_labels_and_scores_are_refused() -> None:
    with pytest.raises(ValueError, match="labels must be 0, 1 or NaN"):
        best_thresholds([[2.0]], [[0.5]])
    with pytest.raises(ValueError, match="scores hold 1 NaN"):
        best_thresholds([[1.0]], [[np.nan]])


def test_evolved_thresholds_are_the_best_of_all_pairs_of_cuts() -> None:
    labels, scores = (array[:, :2] for array in records(40, 1))

    def value(thresholds: np.ndarray) -> float:
        return float(((scores >= thresholds) == labels).all(axis=1).mean())  # of both classes at once

    cuts = [np.unique(column) for column in scores.T]
    best = max(value(np.array([a, b])) for a in cuts[0] for b in cuts[1])
    start = np.array([0.2, 0.9])
    found = evolved_thresholds(scores, start, value)
    assert value(start) < best
    assert value(found) == best
    assert (evolved_thresholds(scores, found, value) == found).all()
    assert (evolved_thresholds(scores, start, lambda thresholds: np.nan) == start).all()
