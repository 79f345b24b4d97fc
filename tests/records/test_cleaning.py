"""Ends that are no ECG, and gaps, in records of any reader."""

from __future__ import annotations

import numpy as np
import pytest

from ssl_ecg.records import LEADS, Record, clean, without_ends, without_gaps


def pulse(seconds: float = 0.4, height: float = 1.0, rate: int = 500) -> np.ndarray:
    """0, 1 mV, 0: a quarter, a half, a quarter."""
    quarter = round(seconds * rate / 4)
    return np.tile(np.repeat([0, height, 0], [quarter, 2 * quarter, quarter]), (12, 1)).astype(np.float32)


@pytest.mark.parametrize("height", [1.0, 0.2, -1.0])
def test_calibration_pulses_are_cut(heartbeat, height: float) -> None:
    signal, edge = heartbeat(), pulse(height=height)
    for parts, where in (((signal, edge), "end"), ((edge, signal), "begin")):
        cut = without_ends(Record(np.concatenate(parts, axis=1), 500, LEADS))
        assert cut.findings == (f"calibration pulse cut: 0.40 s at the {where}",)
        np.testing.assert_array_equal(cut.signal, signal)


def test_a_pulse_with_noise_takes_little_else_with_it(heartbeat) -> None:
    signal = heartbeat()
    edge = pulse() + np.float32(0.004) * np.random.default_rng(0).standard_normal((12, 200)).astype(np.float32)
    for parts in ((signal, edge), (edge, signal)):
        assert 4950 <= without_ends(Record(np.concatenate(parts, axis=1), 500, LEADS)).signal.shape[1] <= 5000


def test_a_pulse_in_some_leads_and_a_true_ecg_stay(heartbeat) -> None:
    signal = heartbeat()
    for leads in (slice(0, 11), slice(0, 0)):
        other = signal.copy()
        other[leads, -200:] = pulse()[leads]
        record = Record(other, 500, LEADS)
        assert without_ends(record) is record
    two = Record(np.concatenate([signal, pulse()[:, :-50]], axis=1)[:2], 500, ("I", "II"))
    assert without_ends(two) is two


@pytest.mark.parametrize("filling", [0.0, np.nan])
@pytest.mark.parametrize(("first", "last"), [(750, 750), (0, 400), (60, 0)])
def test_padding_is_cut(heartbeat, filling: float, first: int, last: int) -> None:
    signal = heartbeat()
    padded = signal.copy()
    padded[:, :first] = padded[:, 5000 - last :] = filling
    cut = clean(Record(padded, 500, LEADS))
    np.testing.assert_array_equal(cut.signal, signal[:, first : 5000 - last])
    ends = [f"padding trimmed: {cut / 500:.2f} s at the {of}" for cut, of in ((first, "begin"), (last, "end")) if cut]
    assert list(cut.findings) == ends
    assert cut.length == 10


def test_padding_after_a_pulse_and_at_another_value(heartbeat) -> None:
    signal = heartbeat()
    whole = np.concatenate([signal, pulse(), np.zeros((12, 300), np.float32)], axis=1)
    np.testing.assert_array_equal(without_ends(Record(whole, 500, LEADS)).signal, signal)
    still = np.concatenate([signal, np.repeat(signal[:, -1:] + 1, 300, axis=1)], axis=1)
    np.testing.assert_array_equal(without_ends(Record(still, 500, LEADS)).signal, signal)


def test_what_holds_nothing_else_is_kept_for_the_quality_check() -> None:
    for value in (0, 1, np.nan):
        record = Record(np.full((12, 5000), value), 500, LEADS)
        assert without_ends(record) is record
    assert without_ends(Record(np.zeros((12, 0)), 500, LEADS)).signal.shape == (12, 0)


def test_short_gaps_are_interpolated_and_long_ones_cost_the_lead(heartbeat) -> None:
    signal = heartbeat()
    signal[7, 2000:2050] = np.nan  # 100 ms
    signal[8, 3000:3051] = np.nan
    signal[9, :3] = np.nan
    got = without_gaps(Record(signal, 500, LEADS))
    assert got.leads == tuple(lead for lead in LEADS if lead != "V3")
    assert got.findings == ("gap filled: V2 50 samples, V4 3 samples", "gap: V3 0.10 s")
    line = np.interp(np.arange(2000, 2050), [1999, 2050], signal[7, [1999, 2050]])
    np.testing.assert_allclose(got.signal[7, 2000:2050], line, atol=1e-6)
    assert (got.signal[8, :3] == signal[9, 3]).all()
