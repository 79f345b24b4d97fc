"""Rounds in which other patients test, joined."""

from __future__ import annotations

import numpy as np
import pytest

from ssl_ecg.evaluation import Bootstrap, Rotation, macro_metrics

ROUNDS, PATIENTS = 4, 60


def rounds(seed: int, shift: float = 0.0) -> tuple[list[Bootstrap], list[np.ndarray], list[np.ndarray]]:
    """Return bootstraps, and the scores of two models of equal worth but for the shift."""
    rng = np.random.default_rng(seed)
    parts, first, second = [], [], []
    for number in range(ROUNDS):
        y = (np.arange(PATIENTS) < PATIENTS // 4).astype(float)[:, None]
        parts.append(Bootstrap(y, np.arange(PATIENTS), 200, number))
        both = rng.normal(size=(PATIENTS, 1))
        first.append(y * (1 + shift) + both + rng.normal(size=(PATIENTS, 1)))
        second.append(y + both + rng.normal(size=(PATIENTS, 1)))
    return parts, first, second


def test_a_replicate_is_the_mean_over_rounds() -> None:
    parts, first, _ = rounds(0)
    found = Rotation(parts).score(first)["macro_auroc"]
    each = [part.score(one)["macro_auroc"] for part, one in zip(parts, first)]
    np.testing.assert_allclose(found, np.mean(each, axis=0))
    alone = [
        macro_metrics(part.labels, one, np.ones((PATIENTS, 1)))["macro_auroc"][0] for part, one in zip(parts, first)
    ]
    assert found[0] == pytest.approx(np.mean(alone))


def test_one_round_is_an_ordinary_bootstrap() -> None:
    (part, *_), (first, *_), (second, *_) = rounds(1)
    rotation = Rotation([part])
    assert rotation.support == part.support
    assert rotation.intervals([rotation.score([first])]) == part.intervals([part.score(first)])
    ours = rotation.differences([rotation.score([first])], [rotation.score([second])])
    assert ours == part.differences([part.score(first)], [part.score(second)])


def test_patients_of_all_rounds_stand_behind_the_mean() -> None:
    parts, first, _ = rounds(2)
    found = Rotation(parts)
    assert found.support[:2] == (ROUNDS * PATIENTS // 4, ROUNDS * (PATIENTS - PATIENTS // 4))
    assert found.support.freedom == pytest.approx(ROUNDS * parts[0].support.freedom)
    one = parts[0].intervals([parts[0].score(first[0])])["macro_auroc"]
    all_ = found.intervals([found.score(first)])["macro_auroc"]
    assert (all_.high - all_.low) == pytest.approx((one.high - one.low) / np.sqrt(ROUNDS), rel=0.35)


def test_few_positives_a_round_are_judged_together() -> None:
    y = (np.arange(40) < 4).astype(float)[:, None]
    parts = [Bootstrap(y, np.arange(40), 50, number) for number in range(5)]
    assert not parts[0].support.judged
    assert Rotation(parts).support.judged
    assert not Rotation(parts[:2]).support.judged


def test_rounds_and_scores_must_agree_in_number() -> None:
    parts, first, _ = rounds(3)
    with pytest.raises(ValueError, match="shorter"):
        Rotation(parts).score(first[:-1])


@pytest.mark.slow
def test_intervals_of_differences_cover_and_equal_models_seldom_differ() -> None:
    covered, different = [], []
    for seed in range(300):
        parts, first, second = rounds(seed + 10)
        rotation = Rotation(parts)
        found = rotation.differences([rotation.score(first)], [rotation.score(second)])["macro_auroc"]
        covered.append(found.low <= 0 <= found.high)
        different.append(found.p_value < 0.05)
    assert 0.91 <= np.mean(covered) <= 0.985
    assert np.mean(different) <= 0.08
