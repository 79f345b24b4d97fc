"""Filters against SciPy used another way, and against what each must do to a sine."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import signal as scipy_signal

from ssl_ecg.records import LEADS
from ssl_ecg.signals import SignalSettings, bandpass, bandstop, condition, fix_length, resample


def sine(frequency: float, rate: float, seconds: float = 10.0) -> np.ndarray:
    return np.sin(2 * np.pi * frequency * np.arange(round(rate * seconds)) / rate)


def gain(filtered: np.ndarray, original: np.ndarray, rate: float) -> float:
    middle = slice(round(2 * rate), -round(2 * rate))
    return float(filtered[middle].std() / original[middle].std())


@pytest.mark.parametrize("rate", [100.0, 500.0])
def test_bandpass_equals_the_squared_response_of_scipy(rate: float) -> None:
    b, a = scipy_signal.butter(2, (0.5, 40), "bandpass", fs=rate)
    for frequency in (0.5, 2.0, 10.0, 40.0):
        _, response = scipy_signal.freqz(b, a, worN=[frequency], fs=rate)
        wave = sine(frequency, rate, 40.0)
        assert gain(bandpass(wave, rate), wave, rate) == pytest.approx(abs(response[0]) ** 2, abs=0.01)


@pytest.mark.parametrize("shape", [(3, 5000), (2, 3, 700), (400,), (2, 2), (2, 1)])
def test_filters_are_those_of_scipy(shape: tuple[int, ...]) -> None:
    signal = np.random.default_rng(0).normal(size=shape).cumsum(axis=-1) + 5.0
    padding = min(shape[-1] - 1, 500)
    sections = scipy_signal.butter(2, (0.5, 40), "bandpass", fs=500, output="sos")
    expected = scipy_signal.sosfiltfilt(sections, signal, padlen=padding)
    np.testing.assert_allclose(bandpass(signal, 500.0), expected, rtol=0, atol=1e-12)
    sections = scipy_signal.butter(2, (49, 51), "bandstop", fs=500, output="sos")
    expected = scipy_signal.sosfiltfilt(sections, signal, padlen=padding)
    np.testing.assert_allclose(bandstop(signal, 500.0), expected, rtol=0, atol=1e-12)
    for rate in (100, 360, 1000):
        expected = scipy_signal.resample_poly(signal, rate, 500, axis=-1, padtype="line")
        np.testing.assert_allclose(resample(signal, 500.0, rate), expected, rtol=0, atol=1e-12)


def test_bandpass_shifts_nothing() -> None:
    wave = sine(8.0, 500.0)
    np.testing.assert_allclose(bandpass(wave, 500.0)[1000:-1000], wave[1000:-1000], atol=0.02)


def test_bandpass_takes_away_an_offset_without_an_edge() -> None:
    assert np.abs(bandpass(np.full((2, 1000), 3.0), 100.0)).max() < 1e-6


def test_bandstop_stops_the_mains_and_leaves_the_rest() -> None:
    mains, heart = sine(50.0, 500.0), sine(20.0, 500.0)
    assert gain(bandstop(mains, 500.0, 50.0), mains, 500.0) < 0.01
    assert gain(bandstop(heart, 500.0, 50.0), heart, 500.0) == pytest.approx(1.0, abs=0.01)
    assert bandstop(heart, 100.0, 50.0) is heart


def test_band_beyond_half_the_rate_is_refused() -> None:
    with pytest.raises(ValueError, match=r"half the sampling rate.*\(0.5, 60.0\)"):
        bandpass(np.zeros(1000), 100.0, (0.5, 60.0))


@pytest.mark.parametrize(("before", "after"), [(500, 100), (100, 500), (257, 100), (240, 100), (1000, 500)])
def test_resampling_keeps_a_sine(before: int, after: int) -> None:
    wave = resample(np.stack([sine(5.0, before), 7.0 + sine(9.0, before)]), before, after)
    assert wave.shape == (2, 10 * after)
    middle = slice(after, -after)
    np.testing.assert_allclose(wave[0, middle], sine(5.0, after)[middle], atol=0.01)
    np.testing.assert_allclose(wave[1, middle], 7.0 + sine(9.0, after)[middle], atol=0.02)


def test_resampling_does_not_alias() -> None:
    wave = sine(80.0, 500.0)
    assert resample(wave, 500, 100)[100:-100].std() < 0.01 * wave.std()


@pytest.mark.parametrize("rates", [(0, 100), (100, -1)])
def test_resampling_refuses_impossible_rates(rates: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="sampling rates must be positive"):
        resample(np.zeros(10), *rates)


def test_fix_length_cuts_pads_and_refuses() -> None:
    signal = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(fix_length(signal, 2), [[0, 1], [3, 4]])
    np.testing.assert_array_equal(fix_length(signal, 5), [[0, 1, 2, 0, 0], [3, 4, 5, 0, 0]])
    with pytest.raises(ValueError, match="3 samples, at least 4"):
        fix_length(signal, 5, min_samples=4)


@pytest.mark.parametrize("rate", [100.0, 500.0])
@pytest.mark.parametrize("original", [100.0, 257.0, 500.0, 1000.0])
def test_condition_gives_the_wanted_length_at_every_rate(rate: float, original: float) -> None:
    signal = np.tile(sine(5.0, original, 7.0), (12, 1))
    out = condition(signal, original, SignalSettings(sampling_rate=rate))
    assert out.shape == (12, round(10 * rate))
    assert out.dtype == np.float32
    assert out[:, : round(6 * rate)].std() == pytest.approx(np.sqrt(0.5), abs=0.03)
    assert not out[:, round(7.1 * rate) :].any()


def test_condition_refuses_short_recordings() -> None:
    with pytest.raises(ValueError, match=r"lasts 4.00 s, at least 5 s"):
        condition(np.zeros((12, 400)), 100.0, SignalSettings())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sampling_rate": -1}, "sampling_rate=-1: must be greater than 0"),
        ({"duration": float("nan")}, "duration=nan: must be greater than 0|duration=nan: must be a finite number"),
        ({"min_duration": 11}, "min_duration=11: choose at most duration=10"),
        ({"band": (0.5, 60)}, r"band=\[0.5, 60.0\]: choose low < high < 50 Hz"),
        ({"mains": 55}, "mains=55: must be 50 or 60"),
        ({"normalise": "max"}, "normalise='max': must be 'lead', 'record' or 'none'"),
        ({"leads": ("I", "I")}, r"leads=\['I', 'I'\]: name each lead once"),
        ({"leads": ("I", "X9")}, "'X9' is none of"),
        ({"duration": 10.001}, "whole number of samples"),
    ],
)
def test_settings_name_argument_and_value(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SignalSettings(**wrong)  # type: ignore[arg-type]


def test_settings_survive_a_round_trip() -> None:
    settings = SignalSettings(leads=("ii", "V1"), sampling_rate=500, band=None, mains=60, normalise="none")
    assert settings.leads == ("II", "V1")
    assert settings.samples == 5000
    assert SignalSettings(**settings.to_dict()) == settings
    assert SignalSettings().leads == LEADS
    with pytest.raises(ValueError, match=r"lead=\['I'\]: there is no such setting; did you mean leads"):
        SignalSettings(lead=["I"])
