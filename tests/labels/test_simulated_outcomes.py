"""Simulated outcomes: what was put in comes out, and ECGs of a patient agree."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from ssl_ecg.archive import Archive, ArchiveWriter
from ssl_ecg.evaluation import calibration_at, cox_regression
from ssl_ecg.labels.simulated_outcomes import simulate_lvef, simulate_outcomes
from ssl_ecg.signals import SignalSettings

RECORDS = 4000
EFFECTS = {"PAC": 1.0, "NORM": -0.5}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """Two ECGs of each patient, some years apart; some ages and dates are not known."""
    rng = np.random.default_rng(0)
    age = np.repeat(rng.normal(60, 15, RECORDS // 2).clip(20, 90), 2)
    apart = np.repeat(rng.uniform(0, 3, RECORDS // 2), 2) * (np.arange(RECORDS) % 2)
    dates = pd.Timestamp("2000-01-01") + pd.to_timedelta(np.round(365.25 * apart), unit="D")
    manifest = pd.DataFrame(
        {
            "record_id": [f"r{i:04d}" for i in range(RECORDS)],
            "patient_id": [f"p{i // 2}" for i in range(RECORDS)],
            "source": "clinic",
            "age": np.where(np.arange(RECORDS) < 100, np.nan, age + apart),
            "sex": "male",
            "recorded_at": dates.where(np.arange(RECORDS) >= 20, pd.NaT),
            "original_rate": 100.0,
            "original_duration": 1.0,
            "calibrated": True,
        }
    )
    settings = SignalSettings(leads=("I",), sampling_rate=50, duration=1, min_duration=1, band=None)
    writer = ArchiveWriter(tmp_path_factory.mktemp("archive"), settings)
    writer.write_part(np.zeros((RECORDS, 1, 50), np.float32), manifest)
    return writer.finish()


@pytest.fixture(scope="module")
def statements(archive: Archive) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "record_id": archive.manifest["record_id"],
            "fold": np.arange(RECORDS) // 2 % 10 + 1,
            "PAC": (rng.random(RECORDS) < 0.2).astype(int),
            "NORM": (rng.random(RECORDS) < 0.3).astype(int),
            "AFIB": (rng.random(RECORDS) < 0.05).astype(int),
        }
    )


def simulated(archive: Archive, statements: pd.DataFrame, **options) -> pd.DataFrame:
    return simulate_outcomes(archive, statements, **{"effects": EFFECTS, "present": ("AFIB",), **options})


def by_patient(values: pd.Series) -> np.ndarray:
    return values.to_numpy().reshape(-1, 2)


def test_cox_regression_finds_the_effects(archive: Archive, statements: pd.DataFrame) -> None:
    table = simulated(archive, statements, yearly_hazard=0.1)
    first = table.iloc[::2]
    makes = {name: by_patient(statements[name]).any(axis=1) for name in EFFECTS}
    age = by_patient(archive.manifest["age"])[:, 0]
    expected = np.log(0.1) + makes["PAC"] - 0.5 * makes["NORM"] + 0.05 * (np.where(np.isnan(age), 60, age) - 60)
    np.testing.assert_allclose(first["true_log_hazard"], expected)
    np.testing.assert_allclose(first["true_risk_5y"], 1 - np.exp(-5 * np.exp(expected)))
    known = ((first["prevalent"] == 0) & ~np.isnan(age)).to_numpy()
    x = np.column_stack([makes["PAC"], makes["NORM"], age / 10])[known]
    found = cox_regression(x, first["time_days"][known], first["event"][known]).coefficient
    np.testing.assert_allclose(found, [1.0, -0.5, 0.5], atol=0.15)


def test_ecgs_of_a_patient_share_their_dates(archive: Archive, statements: pd.DataFrame) -> None:
    table = simulated(archive, statements, yearly_hazard=0.1)
    apart = np.diff(by_patient(archive.manifest["recorded_at"]).astype("datetime64[D]").astype(float))[:, 0]
    apart[:10] = 0  # without dates
    event, prevalent, time = (by_patient(table[name]) for name in ("event", "prevalent", "time_days"))
    free = prevalent[:, 1] == 0
    assert (prevalent[free, 0] == 0).all()
    np.testing.assert_array_equal(event[free, 0], event[free, 1])
    assert np.abs(time[free, 0] - time[free, 1] - apart[free]).max() <= 1
    between = (prevalent[:, 0] == 0) & ~free
    assert between.sum() > 50
    assert (time[between, 0] <= apart[between] + 1).all()
    assert (event[between] == 1).all()
    assert ((table["prevalent"] == 1) == (table["time_days"] == 0)).all()
    assert prevalent[by_patient(statements["AFIB"]).any(axis=1)].all()
    assert 0.05 < prevalent[:, 0].mean() < 0.5


def test_true_risk_is_calibrated_for_any_shape(archive: Archive, statements: pd.DataFrame) -> None:
    table = simulated(archive, statements, shape=2.0, yearly_hazard=0.005, present=(), follow_up_years=(6, 6))
    free = table[table["prevalent"] == 0].iloc[::2]
    found = calibration_at(free["time_days"], free["event"], free["true_risk_5y"], 5 * 365.25, groups=4)
    assert (found["low"] < found["predicted"]).all()
    assert (found["predicted"] < found["high"]).all()
    assert found["predicted"].iloc[-1] > 3 * found["predicted"].iloc[0]


def test_follow_up_does_not_depend_on_the_hazard(archive: Archive, statements: pd.DataFrame) -> None:
    table = simulated(archive, statements, yearly_hazard=1e-9, follow_up_years=(1, 4))
    free = table[table["prevalent"] == 0]
    assert (free["event"] == 0).all()
    last = by_patient(table["time_days"])[10:, 1][by_patient(table["prevalent"])[10:, 1] == 0]
    assert 365 <= last.min() < 400
    assert 1420 < last.max() <= 1462
    assert abs(spearmanr(free["time_days"], free["true_log_hazard"]).statistic) < 0.05


def test_tables_say_that_they_are_simulated_and_do_not_depend_on_the_order(
    archive: Archive, statements: pd.DataFrame
) -> None:
    shuffled = statements.sample(frac=1, random_state=0)
    for draw in (simulated, lambda *given, **more: simulate_lvef(*given, effects=EFFECTS, **more)):
        table = draw(archive, statements, seed=3)
        assert (table["simulated"] == 1).all()
        np.testing.assert_array_equal(table[["record_id", "fold"]], statements[["record_id", "fold"]])
        again = draw(archive, shuffled, seed=3).sort_values("record_id", ignore_index=True)
        pd.testing.assert_frame_equal(table, again)
        assert not table.equals(draw(archive, statements, seed=4))
        assert "fold" not in draw(archive, statements.drop(columns="fold"))
    with pytest.raises(ValueError, match="no column LAO/LAE"):
        simulate_outcomes(archive, statements)


def test_low_lvef_has_its_probability_and_is_the_patients(archive: Archive, statements: pd.DataFrame) -> None:
    table = simulate_lvef(archive, statements, effects={"PAC": 2.0}, per_decade=0.3, log_odds=-2.0)
    low, chance = by_patient(table["low_lvef"]), by_patient(table["true_probability"])
    assert (low[:, 0] == low[:, 1]).all()
    makes = by_patient(statements["PAC"]).any(axis=1)
    age = by_patient(archive.manifest["age"])[:, 0]
    expected = 1 / (1 + np.exp(2 - 2 * makes - 0.03 * (np.where(np.isnan(age), 60, age) - 60)))
    np.testing.assert_allclose(chance[:, 0], expected)
    for group in (makes, ~makes):
        assert low[group].mean() == pytest.approx(expected[group].mean(), abs=0.04)


@pytest.mark.parametrize("wrong", [{"yearly_hazard": 0}, {"shape": -1}, {"follow_up_years": (3, 2)}])
def test_impossible_numbers_are_named(archive: Archive, statements: pd.DataFrame, wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        simulated(archive, statements, **wrong)
