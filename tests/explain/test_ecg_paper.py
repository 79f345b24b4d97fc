from __future__ import annotations

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure

from ssl_ecg.explain import ecg_figure
from ssl_ecg.explain.style import save_figure
from ssl_ecg.records import LEADS

RATE = 100.0


def signal(leads: int = 12, samples: int = 1000) -> np.ndarray:
    return 0.5 * np.random.default_rng(0).standard_normal((leads, samples))


def lines(figure: Figure, name: str) -> list[np.ndarray]:
    """Points [n, 2] in millimetres of the lines of a name, from the top of the page to its bottom."""
    found = [line.get_xydata() for line in figure.axes[0].lines if line.get_label() == name]
    return sorted(found, key=lambda points: -points[:, 1].mean())


def pictures(figure: Figure) -> list[np.ndarray]:
    return [image.get_array() for image in figure.axes[0].images if image.get_label() == "heat"]


def test_one_unit_is_one_millimetre_on_the_saved_page(tmp_path: Path) -> None:
    figure = ecg_figure(signal(), LEADS, RATE)
    axes = figure.axes[0]
    width, height = figure.get_size_inches() * 25.4
    assert axes.get_position().bounds == (0, 0, 1, 1)
    assert axes.get_xlim() == (0, pytest.approx(width))
    assert axes.get_ylim() == (0, pytest.approx(height))
    assert width >= 250 + 10  # ten seconds and the pulse
    save_figure(figure, tmp_path / "ecg.png")
    page = matplotlib.image.imread(tmp_path / "ecg.png")
    assert page.shape[:2] == (int(height / 25.4 * 200), int(width / 25.4 * 200))
    # Along the lower edge, where nothing is drawn, the darkest pixels are the lines of the large squares.
    green = page[-12:-3, :, 1].mean(0)
    dark = np.flatnonzero(green < (green.min() + np.median(green)) / 2) / 200 * 25.4
    assert len(dark) > 40
    assert np.abs(dark - 5 * np.round(dark / 5)).max() < 0.2


def test_a_second_is_25_millimetres_and_a_millivolt_10() -> None:
    values = signal()
    figure = ecg_figure(values, LEADS, RATE)
    for name in LEADS:
        drawn = lines(figure, name)[0]
        assert np.diff(drawn[:, 0]) == pytest.approx(25 / RATE)
        part = slice(250 * (LEADS.index(name) // 3), 250 * (LEADS.index(name) // 3 + 1))
        np.testing.assert_allclose(np.diff(drawn[:, 1]), 10 * np.diff(values[LEADS.index(name), part]), atol=1e-9)
    pulses = lines(figure, "1 mV")
    assert len(pulses) == 4
    for pulse in pulses:
        assert np.ptp(pulse[:, 1]) == 10
        assert np.ptp(pulse[2:4, 0]) == 5  # 0.2 s


def test_twelve_leads_stand_in_three_rows_of_four_over_lead_two() -> None:
    figure = ecg_figure(signal(), LEADS, RATE)
    start = {name: lines(figure, name)[0][0, 0] for name in LEADS}
    middle = {name: lines(figure, name)[0][:, 1].mean() for name in LEADS}
    for column in (LEADS[:3], LEADS[3:6], LEADS[6:9], LEADS[9:]):
        assert len({start[name] for name in column}) == 1
        assert middle[column[0]] > middle[column[1]] > middle[column[2]]
    assert np.diff([start[name] for name in ("I", "aVR", "V1", "V4")]) == pytest.approx(62.5)
    rhythm = lines(figure, "II")[1]
    assert len(rhythm) == 1000
    assert rhythm[:, 1].mean() < middle["III"]
    # One time, one place across the page: the rhythm strip runs below the columns in step with them.
    assert rhythm[0, 0] == start["II"]
    assert rhythm[750, 0] == pytest.approx(start["V4"])


def test_other_leads_are_strips_and_the_order_of_twelve_does_not_matter() -> None:
    strips = ecg_figure(signal(3), ("V2", "I", "X"), RATE)
    assert [len(lines(strips, name)[0]) for name in ("V2", "I", "X")] == [1000] * 3
    assert lines(strips, "V2")[0][:, 1].mean() > lines(strips, "I")[0][:, 1].mean() > lines(strips, "X")[0][:, 1].mean()
    values, order = signal(), np.random.default_rng(1).permutation(12)
    shuffled = ecg_figure(values[order], [LEADS[i] for i in order], RATE)
    for name in LEADS:
        np.testing.assert_array_equal(lines(shuffled, name)[0], lines(ecg_figure(values, LEADS, RATE), name)[0])


@pytest.mark.parametrize("scale", [0.01, 1.0, 3.0])
def test_without_millivolts_the_gain_is_declared_and_there_is_no_pulse(scale: float) -> None:
    values = scale * signal(2)
    figure = ecg_figure(values, ("I", "II"), RATE, calibrated=False)
    assert lines(figure, "1 mV") == []
    drawn = lines(figure, "II")[0]
    gain = np.ptp(drawn[:, 1]) / np.ptp(values[1])
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert any(f"not calibrated, drawn at {gain:g} mm per unit" in text for text in texts)
    assert not any("mm/mV" in text for text in texts)
    assert np.ptp(drawn[:, 1]) < 30


def test_heat_lies_under_the_samples_it_belongs_to() -> None:
    heat = np.zeros((12, 1000))
    heat[LEADS.index("V1"), 600], heat[LEADS.index("I"), 10] = 4, 2
    figure = ecg_figure(signal(), LEADS, RATE, heat)
    parts = pictures(figure)
    assert sorted(part.shape[1] for part in parts) == [250] * 12 + [1000]
    assert sorted(part.max() for part in parts)[-3:] == [0, 0.5, 1]
    image = next(
        image for image in figure.axes[0].images if image.get_array().max() == 1 and image.get_label() == "heat"
    )
    left, right, low, high = image.get_extent()
    place = left + (np.argmax(image.get_array()) + 0.5) / 250 * (right - left)
    trace = lines(figure, "V1")[0]
    assert place == pytest.approx(trace[600 - 500, 0])
    assert low < trace[:, 1].mean() < high
    everywhere = pictures(ecg_figure(signal(), LEADS, RATE, heat.sum(0)))
    assert sorted(part.max() for part in everywhere)[-4:] == [1] * 4  # V1, V2, V3, and the rhythm strip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"signal": np.zeros((3, 100))}, r"signal \(3, 100\): expected \[12 leads, samples\]"),
        ({"heat": np.ones(7)}, r"heat \(7,\): expected \(1000,\) or \(12, 1000\)"),
        ({"heat": -np.ones(1000)}, "heat: its least value is -1"),
        ({"heat": np.full(1000, np.nan)}, "must not be negative or NaN"),
    ],
)
def test_what_does_not_fit_is_named(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ecg_figure(**{"signal": signal(), "leads": LEADS, "sampling_rate": RATE, **arguments})
