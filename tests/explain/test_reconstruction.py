from __future__ import annotations

import numpy as np
import pytest

from ssl_ecg.explain import reconstruction_figure
from ssl_ecg.explain.style import save_figure

LEADS = ("I", "II", "V2", "V5")


def pictures(*names: str, samples: int = 100) -> dict[str, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    shape = (3, len(LEADS), samples)
    hidden = np.zeros(shape, bool)
    hidden[..., 20:60] = True
    return {
        name: {"original": rng.standard_normal(shape), "reconstruction": rng.standard_normal(shape), "mask": hidden}
        for name in names
    }


def test_shows_the_reconstruction_where_the_signal_was_hidden() -> None:
    drawn = pictures("signal", "spectrum")
    figure = reconstruction_figure(drawn, LEADS, 100.0, 100, shown=("II", "V5"), records=2)
    assert len(figure.axes) == 2 * 2 * 2
    original, shown, reconstruction = figure.axes[0].lines  # record 1, lead II
    np.testing.assert_array_equal(original.get_ydata(), drawn["signal"]["original"][0, 1])
    assert np.flatnonzero(np.isnan(shown.get_ydata())).tolist() == list(range(20, 60))
    assert np.flatnonzero(~np.isnan(reconstruction.get_ydata())).tolist() == list(range(20, 60))
    np.testing.assert_array_equal(reconstruction.get_ydata()[20:60], drawn["signal"]["reconstruction"][0, 1, 20:60])
    assert [axes.get_ylabel() for axes in figure.axes[::2]] == ["1: II", "1: V5", "2: II", "2: V5"]


def test_axes_are_in_seconds_and_hertz() -> None:
    figure = reconstruction_figure(pictures("signal", "spectrum"), LEADS, 100.0, 220, records=1)
    time, frequency = (axes.lines[0].get_xdata() for axes in figure.axes[:2])
    assert (time[0], time[-1]) == (0, pytest.approx(0.99))
    assert (frequency[0], frequency[-1]) == (0, pytest.approx(99 * 100 / 220))


def test_without_a_spectrum_or_the_wanted_leads(tmp_path) -> None:
    figure = reconstruction_figure(pictures("signal"), ("a", "b", "c", "d"), 100.0, 100, records=9)
    assert len(figure.axes) == 3 * 3
    save_figure(figure, tmp_path / "picture.svg")
    text = (tmp_path / "picture.svg").read_text(encoding="utf-8")
    assert "reconstruction" in text
    assert "1: a" in text
