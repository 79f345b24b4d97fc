from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from ssl_ecg.evaluation import decision_curve, decision_curve_at


def draw(n: int = 120, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and probabilities that are full of ties and lie on thresholds."""
    rng = np.random.default_rng(seed)
    chance = rng.random(n).round(2)
    return (rng.random(n) < chance).astype(float), chance


def follow_up(n: int = 150, seed: int = 0) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    risk = rng.random(n).round(2) * 0.6
    onset, end = rng.exponential(1 / (risk + 0.05), n), rng.exponential(4, n)
    return np.minimum(onset, end).round(1), (onset <= end).astype(float), risk


def free_at(time: np.ndarray, event: np.ndarray, horizon: float) -> float:
    """Kaplan-Meier, one day of events after another."""
    free = 1.0
    for day in np.unique(time[(event == 1) & (time <= horizon)]):
        free *= 1 - ((time == day) & (event == 1)).sum() / (time >= day).sum()
    return free


def test_net_benefit_is_that_of_four_records_counted_by_hand() -> None:
    # From .2 on a needless action weighs 1/4: named .9 (event), .4 (none), .2 (event): (2 - 1/4) / 4.
    # From .5 on it weighs 1: named .9 alone: 1/4. All: (2 - 2/4) / 4, (2 - 2) / 4.
    table = decision_curve([1, 0, 1, 0], [0.9, 0.4, 0.2, 0.1], [0.2, 0.5])
    assert list(table) == ["threshold", "net_benefit", "treat_all", "treat_none", "named"]
    assert table["net_benefit"].tolist() == pytest.approx([1.75 / 4, 1 / 4])
    assert table["treat_all"].tolist() == pytest.approx([1.5 / 4, 0])
    assert table["treat_none"].tolist() == [0, 0]
    assert table["named"].tolist() == [0.75, 0.25]


@pytest.mark.parametrize("seed", range(3))
def test_net_benefit_follows_from_the_table_of_confusion_under_weights(seed: int) -> None:
    labels, chance = draw(seed=seed)
    weights = np.random.default_rng(seed).integers(0, 4, len(labels))
    table = decision_curve(labels, chance, weights=weights)
    assert table["threshold"].tolist() == pytest.approx([k / 100 for k in range(1, 51)])
    for row in table.itertuples():
        confusion = confusion_matrix(labels, chance >= row.threshold, sample_weight=weights, labels=[0, 1])
        false, true = confusion[:, 1]
        odds = row.threshold / (1 - row.threshold)
        assert row.net_benefit == pytest.approx((true - false * odds) / weights.sum())
        assert row.treat_all == pytest.approx((confusion[1].sum() - confusion[0].sum() * odds) / weights.sum())
        assert row.named == pytest.approx((true + false) / weights.sum())


def test_unknown_labels_do_not_count() -> None:
    labels, chance = draw()
    known = np.arange(len(labels)) % 3 > 0
    found = decision_curve(np.where(known, labels, np.nan), chance)
    np.testing.assert_allclose(found, decision_curve(labels[known], chance[known]))


def test_acting_on_no_record_has_no_benefit() -> None:
    table = decision_curve([1, 0], [0.1, 0.2], [0.3])
    assert table.loc[0, ["net_benefit", "named"]].tolist() == [0, 0]
    censored = decision_curve_at([1, 2], [1, 0], [0.1, 0.2], 3, [0.3])
    assert censored.loc[0, ["net_benefit", "named"]].tolist() == [0, 0]


def test_censored_net_benefit_is_that_of_four_records_counted_by_hand() -> None:
    # By day 3 all four: 3/4 x 1/2 = .375 are free (events on day 1 of 4, on day 3 of 2; one left on day 2).
    # Risk of at least .5: days 1 (event), 2 (left), 5: 2/3 are free.
    table = decision_curve_at([1, 2, 3, 5], [1, 0, 1, 0], [0.9, 0.6, 0.2, 0.5], 3, [0.5])
    assert table.loc[0, "net_benefit"] == pytest.approx(3 / 4 * (1 / 3 - 2 / 3))
    assert table.loc[0, "treat_all"] == pytest.approx(0.625 - 0.375)
    assert table.loc[0, "named"] == 0.75


@pytest.mark.parametrize("seed", range(3))
def test_censored_net_benefit_takes_its_rate_from_those_who_reach_the_threshold(seed: int) -> None:
    time, event, risk = follow_up(seed=seed)
    table = decision_curve_at(time, event, risk, 2.0, np.arange(0.05, 0.65, 0.05))
    free = free_at(time, event, 2.0)
    for row in table.itertuples():
        named, odds = risk >= row.threshold, row.threshold / (1 - row.threshold)
        free_named = free_at(time[named], event[named], 2.0)
        expected = named.sum() * ((1 - free_named) - free_named * odds) / len(time)
        assert row.net_benefit == pytest.approx(expected)
        assert row.treat_all == pytest.approx((1 - free) - free * odds)


def test_without_censoring_both_curves_are_one() -> None:
    _, _, risk = follow_up()
    time = np.random.default_rng(1).exponential(3, len(risk))
    labels = (time <= 2).astype(float)
    np.testing.assert_allclose(
        decision_curve_at(time, np.ones_like(time), risk, 2.0), decision_curve(labels, risk), atol=1e-12
    )


def test_what_cannot_be_is_named() -> None:
    with pytest.raises(ValueError, match=r"thresholds=\[1\.0\]"):
        decision_curve([1, 0], [0.1, 0.2], [1.0])
    with pytest.raises(ValueError, match="not logits"):
        decision_curve([1, 0], [-1.3, 0.2])
    with pytest.raises(ValueError, match="labels must be 0, 1 or NaN"):
        decision_curve([2, 0], [0.3, 0.2])
    with pytest.raises(ValueError, match="none of 2 records"):
        decision_curve([np.nan, np.nan], [0.3, 0.2])
    with pytest.raises(ValueError, match=r"labels \(3,\), probabilities \(2,\)"):
        decision_curve([1, 0, 1], [0.3, 0.2])
    with pytest.raises(ValueError, match=r"time \(1,\)"):
        decision_curve_at([1], [1, 0], [0.3, 0.2], 2)
    with pytest.raises(ValueError, match="unknown follow-up"):
        decision_curve_at([1, np.nan], [1, 0], [0.3, 0.2], 2)
