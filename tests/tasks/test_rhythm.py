"""Named numbers of ECGs that are drawn by hand."""

from __future__ import annotations

import numpy as np
import pytest

from ssl_ecg.tasks.rhythm import FEATURES, rhythm_features, rr_features

RATE = 500.0


def wave(time: np.ndarray, centre: float, width: float, height: float) -> np.ndarray:
    return height * np.exp(-(((time - centre) / width) ** 2))


def ecg(beats: np.ndarray, p: float = 0.15) -> np.ndarray:
    """Leads I and aVF: P 160 ms before R, a QRS that is twice as tall in aVF, T 300 ms after R."""
    time = np.arange(int(10 * RATE)) / RATE
    lead = sum(
        wave(time, b - 0.16, 0.02, p) + wave(time, b, 0.015, 1.0) + wave(time, b + 0.3, 0.04, 0.3) for b in beats
    )
    tall = sum(wave(time, b, 0.015, 1.0) for b in beats)
    return np.stack([lead, lead + tall])


def test_intervals_are_described_by_hand() -> None:
    found = rr_features([1.0, 0.8, 1.0, 0.9])
    steps = np.array([-0.2, 0.2, -0.1])
    assert found["heart_rate"] == pytest.approx(60 / 0.925)
    assert found["rr_sd"] == pytest.approx(np.std([1.0, 0.8, 1.0, 0.9]))
    assert found["rmssd"] == pytest.approx(np.sqrt((steps**2).mean()))
    assert (found["pnn50"], found["rr_turns"]) == (1, 1)
    assert found["rr_entropy"] == pytest.approx(0.5 * np.log(2) + 2 * 0.25 * np.log(4))
    assert rr_features([0.8, 0.8, 0.8])["rr_entropy"] == 0
    assert rr_features([]) == {}


def test_a_drawn_ecg_has_the_numbers_that_it_was_drawn_with() -> None:
    found = rhythm_features(ecg(np.arange(0.5, 10, 0.8)), RATE, ("I", "aVF"))
    assert set(found) == set(FEATURES)
    assert found["heart_rate"] == pytest.approx(75, abs=0.5)
    assert found["rr_sd"] < 0.003
    assert found["p_amplitude"] == pytest.approx(0.15, abs=0.01)
    assert found["p_presence"] > 0.99
    assert found["qrs_amplitude"] == pytest.approx(2, abs=0.1)
    assert found["axis"] == pytest.approx(np.degrees(np.arctan2(2 * 2 / np.sqrt(3), 1)), abs=1)
    # The slope of a Gauss falls to .15 of its steepest at 2.2 deviations, 15 ms / sqrt 2 each.
    assert found["qrs_width"] == pytest.approx(2 * 2.2 * 0.015 / np.sqrt(2), abs=0.012)
    assert found["pr"] == pytest.approx(0.16 - 2.2 * 0.015 / np.sqrt(2), abs=0.01)
    assert found["t_amplitude"] == pytest.approx(0.3, abs=0.01)
    # T falls to a fifth of its height sqrt(ln 5) widths of 40 ms after its top.
    end = 0.3 + 0.04 * np.sqrt(np.log(5))
    assert found["qt"] == pytest.approx(end + 2.2 * 0.015 / np.sqrt(2), abs=0.012)
    assert found["qtc"] == pytest.approx(found["qt"] / np.sqrt(0.8), rel=0.01)


def test_without_p_waves_and_at_random_an_ecg_says_so() -> None:
    rng = np.random.default_rng(0)
    beats = 0.5 + np.cumsum(rng.uniform(0.5, 1.1, 11))
    noise = 0.02 * rng.normal(size=(2, 5000))
    found = rhythm_features(ecg(beats, p=0.0) + noise, RATE, ("I", "aVF"))
    steady = rhythm_features(ecg(np.arange(0.5, 10, 0.8)) + noise, RATE, ("I", "aVF"))
    assert found["p_presence"] < 0.6 < steady["p_presence"]
    assert found["rmssd"] > 10 * steady["rmssd"]
    assert found["rr_entropy"] > steady["rr_entropy"]


def test_an_ecg_without_beats_has_no_numbers() -> None:
    assert np.isnan(list(rhythm_features(np.zeros((2, 1000)), RATE, ("I", "II")).values())).all()
    assert np.isnan(rhythm_features(ecg(np.arange(0.5, 10, 0.8)), RATE, ("V1", "V2"))["axis"])
