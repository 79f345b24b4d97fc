import logging

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from ssl_ecg.evaluation import (
    auprc_per_class,
    auroc_per_class,
    macro_auprc,
    macro_auroc,
    rank_metrics,
    undefined_classes,
)


def tied_scores(records=120, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    labels = (rng.random((records, classes)) < 0.3).astype(float)
    return labels, np.round(rng.normal(size=(records, classes)) + labels, 1)  # one decimal: many ties


def test_agrees_with_sklearn_on_ties():
    labels, scores = tied_scores()
    classes = range(labels.shape[1])
    np.testing.assert_allclose(
        auroc_per_class(labels, scores), [roc_auc_score(labels[:, c], scores[:, c]) for c in classes], atol=1e-12
    )
    np.testing.assert_allclose(
        auprc_per_class(labels, scores),
        [average_precision_score(labels[:, c], scores[:, c]) for c in classes],
        atol=1e-12,
    )


def test_agrees_with_sklearn_under_weights():
    labels, scores = tied_scores()
    weights = np.random.default_rng(1).poisson(1, (len(labels), 7))
    weights[np.argsort(-scores[:, 0])[:10], 0] = 0  # the highest thresholds carry no weight at all
    auroc, precision = rank_metrics(labels, scores, weights)
    for c in range(labels.shape[1]):
        for r in range(weights.shape[1]):
            arguments = {"y_true": labels[:, c], "y_score": scores[:, c], "sample_weight": weights[:, r]}
            assert auroc[c, r] == pytest.approx(roc_auc_score(**arguments), abs=1e-12)
            assert precision[c, r] == pytest.approx(average_precision_score(**arguments), abs=1e-12)


def test_many_replicates_equal_one_at_a_time(monkeypatch):
    labels, scores = tied_scores()
    weights = np.random.default_rng(2).poisson(1, (len(labels), 9)).astype(np.uint16)
    one = [rank_metrics(labels, scores, weights[:, [r]]) for r in range(9)]
    monkeypatch.setattr("ssl_ecg.evaluation.metrics._CHUNK", 4 * len(labels))  # chunks of 4, 4 and 1
    auroc, precision = rank_metrics(labels, scores, weights)
    np.testing.assert_allclose(auroc, np.concatenate([a for a, _ in one], axis=1), rtol=1e-14)
    np.testing.assert_allclose(precision, np.concatenate([p for _, p in one], axis=1), rtol=1e-14)


def test_unknown_labels_are_left_out_not_negative():
    labels, scores = tied_scores()
    unknown = np.random.default_rng(3).random(labels.shape) < 0.4
    holes = np.where(unknown, np.nan, labels)
    expected = [roc_auc_score(labels[~u, c], scores[~u, c]) for c, u in enumerate(unknown.T)]
    np.testing.assert_allclose(auroc_per_class(holes, scores), expected, atol=1e-12)
    assert not np.allclose(auroc_per_class(np.nan_to_num(holes), scores), expected, atol=1e-3)


def test_class_without_both_sides_is_nan_and_named(caplog):
    labels, scores = tied_scores()
    labels[:, 1], labels[:, 2] = 0, np.nan
    np.testing.assert_array_equal(undefined_classes(labels), [False, True, True, False])
    np.testing.assert_array_equal(np.isnan(auprc_per_class(labels, scores)), [False, True, True, False])
    with caplog.at_level(logging.DEBUG):
        macro = macro_auroc(labels, scores, classes=["NORM", "MI", "HYP", "CD"])
    assert "MI" in caplog.text
    assert "HYP" in caplog.text
    assert "NORM" not in caplog.text
    assert macro == pytest.approx(np.mean([roc_auc_score(labels[:, c], scores[:, c]) for c in (0, 3)]))


@pytest.mark.parametrize("metric", [macro_auroc, macro_auprc])
def test_nothing_to_rank_is_an_error(metric):
    with pytest.raises(ValueError, match="no class has both"):
        metric(np.zeros((5, 2)), np.random.default_rng(0).random((5, 2)))


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        (np.zeros((4, 2)), np.zeros((4, 3)), r"\(4, 2\).*\(4, 3\)"),
        (np.zeros(4), np.zeros(4), "records, classes"),
        (np.full((4, 2), 0.5), np.zeros((4, 2)), "0, 1 or NaN"),
        (np.zeros((4, 2)), np.full((4, 2), np.nan), "8 NaN"),
    ],
)
def test_bad_input_is_named(labels, scores, message):
    with pytest.raises(ValueError, match=message):
        auroc_per_class(labels, scores)


def test_infinite_and_boolean_input():
    labels = np.array([[False], [True], [True], [False]])
    assert auroc_per_class(labels, [[-np.inf], [np.inf], [0.0], [1.0]]).item() == 0.75


def test_published_ptbxl_model(published_scores):
    labels, scores = published_scores
    assert macro_auroc(labels, scores) == pytest.approx(0.92544, abs=1e-5)
    assert macro_auprc(labels, scores) == pytest.approx(average_precision_score(labels, scores, average="macro"))
