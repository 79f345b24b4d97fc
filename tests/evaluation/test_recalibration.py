"""Probabilities at a site where findings are more common."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logit

from ssl_ecg.evaluation import auroc_per_class, f1_per_class
from ssl_ecg.evaluation.recalibration import label_shift, prior_shift, shifted

TRAINED, HERE, APART = 0.05, 0.3, 2.0


def site(prevalence: float, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and the right probabilities of the site that trained: two normal distributions that lie 2 apart."""
    rng = np.random.default_rng(seed)
    y = (rng.random((count, 1)) < prevalence).astype(float)
    x = rng.normal(size=(count, 1)) + APART * y
    return y, shifted(np.full((count, 1), TRAINED), APART * x - APART**2 / 2)  # Bayes' rule


def test_a_shift_adds_to_logits_and_keeps_ranks() -> None:
    scores = np.array([[0.1, 0.5], [0.2, 0.9]])
    np.testing.assert_allclose(logit(shifted(scores, [1.0, -2.0])), logit(scores) + np.array([1.0, -2.0]))
    assert shifted([[0.0], [1.0]], [0.0]).tolist() == [[pytest.approx(1e-6)], [pytest.approx(1 - 1e-6)]]


@pytest.mark.parametrize("here", [0.01, TRAINED, 0.3, 0.6])
def test_unlabelled_scores_tell_the_prevalence(here: float) -> None:
    _, scores = site(here, 20000, 0)
    assert prior_shift(scores, [TRAINED], [TRAINED])[0] == pytest.approx(logit(here) - logit(TRAINED), abs=0.2)


def test_scores_that_say_nothing_shift_nothing() -> None:
    assert prior_shift(np.full((100, 1), 0.02), [TRAINED], [TRAINED]).tolist() == [0.0]
    assert prior_shift(np.full((100, 1), 0.5), [TRAINED], [TRAINED]).tolist() == [0.0]


def test_a_prevalence_that_decisions_contradict_is_not_believed() -> None:
    _, scores = site(HERE, 5000, 3)
    assert prior_shift(scores, [TRAINED], [TRAINED])[0] > 1.5
    assert prior_shift(scores, [TRAINED], [0.9]).tolist() == [0.0]  # hardly anybody is named from there on


def test_labels_tell_the_shift_and_none_tell_none() -> None:
    y, scores = site(HERE, 4000, 1)
    true = logit(HERE) - logit(TRAINED)
    assert label_shift(scores, y)[0] == pytest.approx(true, abs=0.1)
    few = np.where(np.arange(4000)[:, None] < 40, y, np.nan)
    assert label_shift(scores, few)[0] == pytest.approx(true, abs=1.0)
    assert label_shift(scores, np.full_like(y, np.nan))[0] == pytest.approx(0, abs=1e-5)
    never = label_shift(scores[:30], np.zeros((30, 1)))[0]
    assert -6 < never < 0  # thirty negatives are no proof that there is no positive


def test_decisions_at_half_are_better_after_it() -> None:
    y, scores = site(HERE, 5000, 2)
    adjusted = shifted(scores, prior_shift(scores, [TRAINED], [TRAINED]))
    before, after = (f1_per_class(y, (one >= 0.5).astype(float))[0] for one in (scores, adjusted))
    assert after > before + 0.1
    assert auroc_per_class(y, adjusted)[0] == pytest.approx(auroc_per_class(y, scores)[0])
