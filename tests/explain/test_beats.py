from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import wfdb
from wfdb.processing import xqrs_detect

from ssl_ecg.explain import beat_shares, r_peaks
from ssl_ecg.signals.filters import bandpass, resample
from ssl_ecg.synthetic import draw_ecgs

LIMITS = pd.DataFrame(
    {"p_onset": -0.2, "p_end": -0.1, "qrs_onset": -0.04, "qrs_end": 0.06, "t_onset": 0.16, "t_end": 0.36}, index=[0]
)


def agreement(found: np.ndarray, true: np.ndarray, tolerance: float) -> tuple[float, float]:
    """Shares of true beats that were found and of found ones that are true."""
    near = np.abs(found[:, None] - true[None]) <= tolerance
    return near.any(0).mean(), near.any(1).mean()


@pytest.mark.parametrize("rate", [100.0, 500.0])
def test_every_beat_of_a_plain_ecg_is_found(heartbeat: Callable[..., np.ndarray], rate: float) -> None:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        true = np.arange(rng.uniform(0.1, 0.5), 11, rng.uniform(0.7, 1.0))  # as the fixture draws them
        true = true[(true > 0.1) & (true < 9.9)]
        found = r_peaks(heartbeat(rate, seed=seed), rate) / rate
        assert agreement(found[(found > 0.1) & (found < 9.9)], true, 0.04) == (1, 1)


def test_synthetic_beats_are_as_many_as_the_rate_says() -> None:
    ecgs = draw_ecgs(40, seed=5)
    found = np.array([len(r_peaks(signal, 100.0)) for signal in ecgs.signal])
    assert np.abs(found - ecgs.truth["heart_rate"] / 6).mean() < 0.6


def test_beats_of_real_ecgs_are_mostly_those_of_another_detector(ecg_data: Path) -> None:
    scores = []
    for header in sorted((ecg_data / "ludb").rglob("*.hea"))[::10]:
        record = wfdb.rdrecord(str(header.with_suffix("")))
        signal = bandpass(record.p_signal.T, record.fs, (0.5, 40))
        other = xqrs_detect(signal[1], record.fs, verbose=False) / record.fs
        found = r_peaks(resample(signal, record.fs, 100), 100.0) / 100
        true, found = (beats[(beats > 0.5) & (beats < 9.5)] for beats in (other, found))
        if len(true):  # the other detector finds nothing in some short records
            scores.append(agreement(found, true, 0.1))
    assert len(scores) >= 10
    assert np.mean(scores, axis=0) == pytest.approx(1, abs=0.05)


def test_shares_of_a_flat_map_are_those_of_time() -> None:
    shares = beat_shares(np.ones((1, 1000)), [np.array([100, 300, 500])], 100.0, LIMITS)
    assert shares.iloc[0].to_dict() == pytest.approx({"P": 0.03, "QRS": 0.03, "ST": 0.03, "T": 0.06, "elsewhere": 0.85})


def test_heat_belongs_to_the_part_it_lies_on_in_every_beat() -> None:
    heat = np.zeros((2, 1000))
    heat[0, 100 - 15], heat[0, 300 - 15], heat[0, 500 + 10], heat[0, 700] = 1, 2, 3, 4
    shares = beat_shares(heat, [np.array([100, 300, 500])] * 2, 100.0, pd.concat([LIMITS] * 2))
    assert shares.iloc[0].to_dict() == pytest.approx({"P": 0.3, "QRS": 0, "ST": 0.3, "T": 0, "elsewhere": 0.4})
    assert shares.iloc[1].isna().all()  # a map of zeros lies nowhere


def test_of_beats_that_overlap_the_later_p_wave_counts_and_missing_waves_have_no_share() -> None:
    heat = np.zeros((1, 300))
    heat[0, 100:140] = 1
    peaks = [np.array([100, 145])]  # the P wave of the second lies in the T wave of the first
    shares = beat_shares(heat, peaks, 100.0, LIMITS).iloc[0]
    assert shares["P"] == pytest.approx(10 / 40)
    assert shares["T"] == pytest.approx(10 / 40)
    without = beat_shares(heat, peaks, 100.0, LIMITS.assign(p_onset=np.nan, p_end=np.nan)).iloc[0]
    assert without["P"] == 0
    assert without["T"] == pytest.approx(20 / 40)


def test_beats_at_the_edges_and_records_without_beats() -> None:
    shares = beat_shares(np.ones((2, 100)), [np.array([0, 99]), np.array([], int)], 100.0)
    assert shares.sum(axis=1).tolist() == pytest.approx([1, 1])
    assert shares.iloc[1]["elsewhere"] == 1


def test_numbers_of_records_that_differ_are_named() -> None:
    with pytest.raises(ValueError, match="records differ: heat has 2, peaks has 1, limits has 1"):
        beat_shares(np.ones((2, 100)), [np.array([50])], 100.0, LIMITS)
