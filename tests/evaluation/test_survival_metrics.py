from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

import ssl_ecg  # noqa: F401 - torchsurv imports torchmetrics, which a guard of this package makes importable
from ssl_ecg.evaluation import (
    auroc_at,
    bootstrap_weights,
    brier_at,
    calibration_at,
    concordance_index,
    integrated_brier,
    kaplan_meier,
    kaplan_meier_by_group,
    rank_metrics,
    risk_groups,
)


@pytest.fixture(scope="module")
def oracle(read_oracle: Callable[[str], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return read_oracle("survival_metrics")


def draw(seed: int, records: int = 80, coarse: bool = False) -> tuple[np.ndarray, ...]:
    """Follow-up, event and risk; coarse ones are full of ties."""
    rng = np.random.default_rng(seed)
    risk = rng.normal(size=records)
    onset, end = rng.exponential(np.exp(-risk) * 500), rng.exponential(700, records)
    time, event = np.minimum(onset, end), (onset <= end).astype(float)
    return (np.ceil(time / 200), event, np.round(risk)) if coarse else (time, event, risk)


def censoring(time: np.ndarray, event: np.ndarray, at: float) -> float:
    """G(at-), one day of censoring after another."""
    stay = 1.0
    for day in np.unique(time[(time < at) & (event == 0)]):
        here = time == day
        stay *= 1 - (here & (event == 0)).sum() / ((time >= day).sum() - (here & (event == 1)).sum())
    return stay


def pairwise(time: np.ndarray, event: np.ndarray, risk: np.ndarray, horizon: float, power: int) -> float:
    """C-index by asking each pair."""
    right = pairs = 0.0
    for i in np.flatnonzero((event == 1) & (time <= horizon)):
        for j in range(len(time)):
            if time[j] > time[i] or (time[j] == time[i] and not event[j]):
                weight = censoring(time, event, time[i]) ** -power
                pairs += weight
                right += weight * (1 if risk[j] < risk[i] else 0.5 if risk[j] == risk[i] else 0)
    return right / pairs


def test_metrics_are_those_of_an_independent_package(oracle: dict[str, np.ndarray]) -> None:
    time, event, risk, horizon = (oracle[name] for name in ("time", "event", "risk", "horizon"))
    assert concordance_index(time, event, risk)[0] == pytest.approx(oracle["c_index"], abs=1e-9)
    assert concordance_index(time, event, risk, ipcw=True)[0] == pytest.approx(oracle["c_index_ipcw"], abs=1e-9)
    assert auroc_at(time, event, risk, horizon)[0] == pytest.approx(oracle["cumulative_dynamic_auc"], abs=1e-9)
    curve = oracle["survival_at_horizon"][:, None]
    assert brier_at(time, event, curve, [horizon])[0, 0] == pytest.approx(oracle["brier"], abs=1e-9)


def test_metrics_are_those_of_torchsurv() -> None:
    auc = pytest.importorskip("torchsurv.metrics.auc")
    brier = pytest.importorskip("torchsurv.metrics.brier_score")
    cindex = pytest.importorskip("torchsurv.metrics.cindex")
    ipcw = pytest.importorskip("torchsurv.stats.ipcw").get_ipcw
    time, event, risk = draw(3, 200)
    days = np.quantile(time, [0.2, 0.4, 0.6, 0.8])
    survival = np.exp(-np.outer(np.exp(risk), days) / 500)
    t, r, at = (torch.tensor(part, dtype=torch.float32) for part in (time, risk, days))  # it fails for float64
    e = torch.tensor(event == 1)
    weights, at_days = ipcw(e, t), ipcw(e, t, new_time=at)
    harrell = cindex.ConcordanceIndex()
    assert concordance_index(time, event, risk)[0] == pytest.approx(float(harrell(r, e, t)), abs=1e-5)
    uno = float(harrell(r, e, t, weight=weights, tmax=at[2]))
    assert concordance_index(time, event, risk, horizon=days[2], ipcw=True)[0] == pytest.approx(uno, abs=1e-5)
    given = {"new_time": at, "weight": weights, "weight_new_time": at_days}
    theirs = auc.Auc()(r, e, t, **given).tolist()
    assert [auroc_at(time, event, risk, day)[0] for day in days] == pytest.approx(theirs, abs=1e-5)
    scorer = brier.BrierScore()
    theirs = scorer(torch.tensor(survival, dtype=torch.float32), e, t, **given).tolist()
    assert brier_at(time, event, survival, days)[:, 0].tolist() == pytest.approx(theirs, abs=1e-5)
    assert integrated_brier(time, event, survival, days)[0] == pytest.approx(float(scorer.integral()), abs=1e-5)


@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize("share", [0.7, 1.0])
def test_concordance_is_that_of_all_pairs_ties_included(coarse: bool, share: float) -> None:
    for seed in range(3):
        time, event, risk = draw(seed, 40, coarse)
        horizon = np.quantile(time, share)
        for ipcw in (False, True):
            expected = pairwise(time, event, risk, horizon, 2 * ipcw)
            assert concordance_index(time, event, risk, None, horizon, ipcw)[0] == pytest.approx(expected)


def test_a_weight_is_as_many_copies_of_the_record() -> None:
    time, event, risk = draw(0, 60, coarse=True)
    survival = np.exp(-np.exp(risk))[:, None] * np.array([0.9, 0.7, 0.4])
    weights = bootstrap_weights(np.arange(60), event[:, None], replicates=5, seed=1)
    days = np.array([1.0, 2.0, 4.0])
    together = (
        concordance_index(time, event, risk, weights),
        concordance_index(time, event, risk, weights, 3, ipcw=True),
        auroc_at(time, event, risk, 3, weights),
        brier_at(time, event, survival, days, weights)[1],
        integrated_brier(time, event, survival, days, weights),
    )
    for r in range(5):
        drawn = np.repeat(np.arange(60), weights[:, r])
        t, e, s, curve = time[drawn], event[drawn], risk[drawn], survival[drawn]
        alone = (
            concordance_index(t, e, s),
            concordance_index(t, e, s, None, 3, ipcw=True),
            auroc_at(t, e, s, 3),
            brier_at(t, e, curve, days)[1],
            integrated_brier(t, e, curve, days),
        )
        for ours, theirs in zip(together, alone, strict=True):
            assert ours[r] == pytest.approx(theirs[0])


def test_without_censoring_before_the_horizon_metrics_are_those_of_classification() -> None:
    rng = np.random.default_rng(0)
    risk = rng.random(100)
    event = (rng.random(100) < risk).astype(float)
    time = np.where(event == 1, rng.uniform(1, 1000, 100), 1825)  # all others are followed to the horizon, not beyond
    assert auroc_at(time, event, risk, 1825)[0] == pytest.approx(rank_metrics(event[:, None], risk[:, None])[0][0, 0])
    assert brier_at(time, event, 1 - risk[:, None], [1825])[0, 0] == pytest.approx(np.mean((event - risk) ** 2))


def test_undefined_metrics_are_nan_and_impossible_arguments_named() -> None:
    time, risk = np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0])
    assert np.isnan(concordance_index(time, np.zeros(3), risk)[0])
    assert np.isnan(auroc_at(time, np.zeros(3), risk, 2)[0])
    assert np.isnan(auroc_at(time, np.ones(3), risk, 9)[0])
    assert np.isnan(brier_at(time, np.zeros(3), np.ones((3, 1)), [9])[0, 0])
    assert concordance_index(time, np.ones(3), risk)[0] == 1
    for arguments, message in (
        (([1, np.nan], [1, 0], [1, 2]), "time must be finite"),
        (([1, 2], [1, 3], [1, 2]), "event 0 or 1"),
        (([1, 2], [1], [1, 2]), "both must be"),
        (([1, 2], [1, 0], [1, np.nan]), "risk .* 1 NaN"),
        (([1, 2], [1, 0], [1, 2], np.ones(2)), r"weights \(2,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            concordance_index(*arguments)


def test_kaplan_meier_is_the_product_of_those_who_stay() -> None:
    time, event = [1, 1, 2, 3, 3, 4, 5, 5], [1, 0, 1, 0, 1, 0, 1, 1]
    table = kaplan_meier(time, event)
    assert table["time"].tolist() == [1, 2, 3, 4, 5]
    assert table["at_risk"].tolist() == [8, 6, 5, 3, 2]
    assert table["events"].tolist() == [1, 2, 3, 3, 5]
    expected = np.cumprod([7 / 8, 5 / 6, 4 / 5, 1, 0])
    np.testing.assert_allclose(table["survival"], expected)
    # Greenwood's variance at day 3, by hand, on the log-log scale.
    spread = 1.959964 * np.sqrt(1 / (8 * 7) + 1 / (6 * 5) + 1 / (5 * 4)) / np.log(expected[2])
    assert table["low"][2] == pytest.approx(expected[2] ** np.exp(-spread))
    assert table["high"][2] == pytest.approx(expected[2] ** np.exp(spread))
    assert table["low"][2] < table["survival"][2] < table["high"][2]
    at = kaplan_meier(time, event, days=[0, 1.5, 3, 99])
    assert at["at_risk"].tolist() == [8, 6, 5, 0]
    np.testing.assert_allclose(at["survival"], [1, 7 / 8, expected[2], 0])


def test_kaplan_meier_is_that_of_torchsurv() -> None:
    module = pytest.importorskip("torchsurv.stats.kaplan_meier")
    time, event, _ = draw(5, 150, coarse=True)
    theirs = module.KaplanMeierEstimator()
    theirs(torch.tensor(event == 1), torch.tensor(time, dtype=torch.float32))
    np.testing.assert_allclose(kaplan_meier(time, event)["survival"], theirs.km_est.numpy(), atol=1e-6)


@pytest.mark.filterwarnings("error")
def test_kaplan_meier_is_defined_without_events_without_censoring_and_for_one_record() -> None:
    time = [3, 1, 3, 2]
    free = kaplan_meier(time, [0, 0, 0, 0], days=[0, 2, 9])
    assert (free["survival"].tolist(), free["events"].tolist()) == ([1, 1, 1], [0, 0, 0])
    assert free["at_risk"].tolist() == [4, 3, 0]
    everyone = kaplan_meier(time, [1, 1, 1, 1])
    assert (everyone["survival"].tolist(), everyone["events"].tolist()) == ([0.75, 0.5, 0], [1, 2, 4])
    for table in (free, everyone.tail(1), kaplan_meier([5], [1]), kaplan_meier([5], [0])):
        assert table[["low", "high"]].isna().all(axis=None)
    assert everyone[["low", "high"]].head(2).notna().all(axis=None)


def test_risk_groups_are_even_and_keep_equal_risks_together() -> None:
    rng = np.random.default_rng(0)
    assert np.bincount(risk_groups(rng.random(100), 4)).tolist() == [25] * 4
    risk = np.array([0.1, 0.1, 0.1, 0.9])
    assert risk_groups(risk, 4).tolist() == [0, 0, 0, 3]
    with pytest.raises(ValueError, match="groups=0"):
        risk_groups(risk, 0)


def test_calibration_finds_true_risks_calibrated_and_halved_ones_not() -> None:
    rng = np.random.default_rng(0)
    rate = rng.gamma(2, 0.2, 20000) / 1825
    onset, end = rng.exponential(1 / rate), rng.uniform(300, 4000, 20000)
    time, event = np.minimum(onset, end), onset <= end
    risk = 1 - np.exp(-1825 * rate)
    table = calibration_at(time, event, risk, 1825, groups=5)
    assert table["records"].sum() == 20000
    assert (table["at_risk"] > 0).all()
    np.testing.assert_allclose(table["observed"], table["predicted"], atol=0.03)
    assert ((table["low"] < table["observed"]) & (table["observed"] < table["high"])).all()
    halved = calibration_at(time, event, risk / 2, 1825, groups=5)
    np.testing.assert_allclose(halved["observed"], 2 * halved["predicted"], atol=0.04)
    groups = kaplan_meier_by_group(time, event, risk_groups(risk, 4), [365, 1825])
    assert groups["group"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert (groups.groupby("time")["survival"].diff().dropna() < 0).all()
