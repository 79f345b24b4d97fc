from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from ssl_ecg.tasks import create_task
from ssl_ecg.tasks.label_review import out_of_fold, review_labels

NAN = np.nan


def table(records: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, true labels of a common and of a rare class, and patients with two records each."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(records, 10))
    common, rare = x[:, 0] + 0.2 * rng.normal(size=records) > 0, x[:, 1] + 0.2 * rng.normal(size=records) > 1.6
    return x, np.stack([common, rare], axis=1).astype(np.float32), np.repeat(np.arange(records // 2), 2)


def flipped(targets: np.ndarray, share: float, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    flip = np.random.default_rng(seed).random(targets.shape) < share
    return np.where(flip, 1 - targets, targets).astype(np.float32), flip


def test_flipped_labels_are_what_is_doubted() -> None:
    x, targets, patient = table()
    given, flip = flipped(targets[:, :1], 0.2)
    found = review_labels(create_task("arrhythmia", ("common",)), x, given, patient)
    assert found.doubted[flip].mean() > 0.85  # share of the flipped ones that is found
    assert flip[found.doubted].mean() > 0.6  # share of the doubted ones that was flipped
    assert flip[found.confident].mean() > 0.75
    worst = np.argsort(-np.where(found.doubted, found.doubt, -np.inf)[:, 0])[:50]
    assert flip[worst].mean() > 0.9
    clean = review_labels(create_task("arrhythmia", ("common",)), x, targets[:, :1], patient)
    assert clean.doubted.mean() < 0.12


def test_positives_of_a_rare_class_are_not_all_doubted() -> None:
    x, targets, patient = table(2000)
    found = review_labels(create_task("arrhythmia", ("common", "rare")), x, targets, patient)
    assert targets[:, 1].mean() < 0.08
    assert found.doubted[targets[:, 1] == 1, 1].mean() < 0.3
    given, flip = flipped(targets, 0.02)
    found = review_labels(create_task("arrhythmia", ("common", "rare")), x, given, patient)
    assert found.doubted[:, 1][flip[:, 1]].mean() > 0.8


def test_doubt_is_by_hand_what_the_definition_says(monkeypatch: pytest.MonkeyPatch) -> None:
    from ssl_ecg.tasks import label_review

    probability = np.array([[0.9], [0.2], [0.7], [0.1], [0.8], [NAN], [0.5]])
    given = np.array([[1], [1], [1], [0], [0], [0], [NAN]])
    monkeypatch.setattr(label_review, "out_of_fold", lambda *_: probability)
    found = review_labels(None, np.zeros((7, 1)), given, np.arange(7))  # type: ignore[arg-type]
    positive, negative = (0.9 + 0.2 + 0.7) / 3, (0.9 + 0.2) / 2  # mean probability of their own label
    expected = [positive - 0.9, positive - 0.2, positive - 0.7, negative - 0.9, negative - 0.2, NAN, NAN]
    np.testing.assert_allclose(found.doubt[:, 0], expected)
    between = (positive + 1 - negative) / 2  # of the probabilities that are usual for 1 and for 0
    assert [between > 0.2, between > 0.7, between < 0.1, between < 0.8] == [True, False, False, True]
    assert found.doubted[:, 0].tolist() == [False, True, False, False, True, False, False]
    assert found.confident[:, 0].tolist() == [False, negative <= 1 - 0.2, False, False, positive <= 0.8, False, False]


def test_no_record_is_judged_by_a_model_of_its_patient() -> None:
    x, targets, patient = table(300)
    task = create_task("arrhythmia", ("common",))
    scores = out_of_fold(task, x, targets[:, :1], patient, 5, seed=3)
    for person in (0, 17, 149):
        own = patient == person
        other = targets[:, :1].copy()
        other[own] = 1 - other[own]
        changed = out_of_fold(task, x, other, patient, 5, seed=3)
        np.testing.assert_array_equal(changed[own], scores[own])
        assert not np.array_equal(changed[~own], scores[~own])
    reference = LogisticRegression().fit(x, targets[:, 0]).predict_proba(x)[:, 1]
    assert np.corrcoef(scores[:, 0], reference)[0, 1] > 0.9


def test_unknown_labels_and_classes_that_cannot_be_learned_are_not_doubted() -> None:
    x, targets, patient = table(300)
    targets[::3, 0] = NAN
    targets[:, 1] = 0
    targets[0, 1] = 1
    found = review_labels(create_task("arrhythmia", ("common", "rare")), x, targets, patient)
    assert not found.doubted[np.isnan(targets)].any()
    assert not found.doubted[0, 1]
    with pytest.raises(ValueError, match="no class has enough patients"):
        review_labels(create_task("arrhythmia", ("rare",)), x, np.zeros((300, 1)), patient)
    with pytest.raises(ValueError, match="folds=2: choose between 3 and the 150 patients"):
        review_labels(create_task("arrhythmia", ("common",)), x, targets[:, :1], patient, folds=2)
