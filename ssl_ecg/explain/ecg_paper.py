"""An ECG as a clinic prints it: on millimetre paper, at 25 mm/s and 10 mm/mV, with a heat map under the waveform.

One unit of the axes is one millimetre and the figure is as large as its paper, so that a file printed at its own size
can be measured with a ruler.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from ssl_ecg.explain.style import INK, STYLE
from ssl_ecg.records import LEADS

PAPER_SPEED, GAIN = 25.0, 10.0  # mm/s, mm/mV
INCH = 25.4
SHEET, SMALL_SQUARE, LARGE_SQUARE = "#fffaf8", "#f9dcd6", "#eeb1a5"
HEAT = "#0b6fc7"

COLUMNS = (LEADS[:3], LEADS[3:6], LEADS[6:9], LEADS[9:])
RHYTHM = "II"
# Millimetres; multiples of 5, so that everything stands on large squares.
ROW, MARGIN, TOP, BOTTOM, PULSE = 30.0, 5.0, 10.0, 10.0, 10.0
UNCALIBRATED_GAINS = (0.5, 1.0, 2.0, 2.5, 5.0, 10.0, 20.0)
UNCALIBRATED_HEIGHT = 20.0

_COLOURS = LinearSegmentedColormap.from_list("heat", [to_rgba(HEAT, 0.0), to_rgba(HEAT, 0.65)])


def ecg_figure(
    signal: ArrayLike,
    leads: Sequence[str],
    sampling_rate: float,
    heat: ArrayLike | None = None,
    calibrated: bool = True,
    title: str = "",
) -> Figure:
    """Draw an ECG on millimetre paper at 25 mm/s.

    The twelve standard leads are printed in 3 rows of 4 columns, each a quarter of the record, over a rhythm strip of
    lead II; other leads one below the other. Amplitudes in millivolts are drawn at 10 mm/mV after a pulse of 1 mV;
    others at a gain that fills the rows and that the figure states, without a pulse.

    Args:
        signal: float [L, T], millivolts, or any unit with ``calibrated=False`` (such as standard deviations).
        leads: names of the L leads.
        sampling_rate: Hz.
        heat: [T] or [L, T], not negative: how much each moment matters, drawn as colour under the waveform in parts of
            its largest value. None: no colour.
        calibrated: whether the signal is in millivolts.
        title: printed above the ECG.

    Returns:
        A figure of the size of its paper; saved at any resolution, 1 mm is 1 mm.

    Raises:
        ValueError: shapes that do not fit each other, or negative heat.
    """
    values = np.asarray(signal, np.float64)
    if values.ndim != 2 or len(values) != len(leads):
        raise ValueError(f"signal {values.shape}: expected [{len(leads)} leads, samples]")
    shares = None if heat is None else _shares(heat, values.shape)
    cells = _cells(leads, values.shape[1])
    rows = max(row for _, row, _ in cells) + 1
    gain = GAIN if calibrated else _fitting_gain(values)
    indent = MARGIN + (PULSE if calibrated else 0.0)
    # Rounded up to whole large squares.
    width = 5 * np.ceil((indent + PAPER_SPEED * values.shape[1] / sampling_rate + MARGIN) / 5)
    height = TOP + ROW * rows + BOTTOM
    with matplotlib.rc_context({**STYLE, "figure.facecolor": SHEET, "savefig.facecolor": SHEET}):
        figure = Figure(figsize=(width / INCH, height / INCH))
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
        axes.set_axis_off()
        _draw_paper(axes, width, height)
        for lead, row, part in cells:
            index = list(leads).index(lead)
            baseline = BOTTOM + ROW * (rows - row - 0.5)
            x = indent + PAPER_SPEED * np.arange(part.start, part.stop) / sampling_rate
            if shares is not None:
                _draw_heat(axes, shares[index, part], x[0], PAPER_SPEED / sampling_rate, baseline)
            _draw_lead(axes, lead, x, baseline + gain * values[index, part], baseline, part.start > 0)
        if calibrated:
            for row in range(rows):
                _draw_pulse(axes, BOTTOM + ROW * (rows - row - 0.5))
        scale = f"{gain:g} mm/mV" if calibrated else f"amplitude not calibrated, drawn at {gain:g} mm per unit"
        axes.text(MARGIN, 3.5, f"{PAPER_SPEED:g} mm/s    {scale}", fontsize=8, va="center")
        axes.text(MARGIN, height - 6, title, fontsize=10, va="center")
        if shares is not None:
            _draw_key(axes, width)
    return figure


def _shares(heat: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Bring a heat map to [L, T] in parts of its largest value."""
    heat = np.asarray(heat, np.float64)
    if heat.shape not in (shape, shape[1:]):
        raise ValueError(f"heat {heat.shape}: expected {shape[1:]} or {shape}, as the signal")
    if not (heat >= 0).all():
        raise ValueError(f"heat: its least value is {heat.min():g}; it must not be negative or NaN")
    return np.broadcast_to(heat / (heat.max() or 1), shape)


def _cells(leads: Sequence[str], samples: int) -> list[tuple[str, int, slice]]:
    """Say where to print what: lead, row from the top, samples."""
    if set(leads) != set(LEADS) or len(leads) != len(LEADS):
        return [(lead, row, slice(0, samples)) for row, lead in enumerate(leads)]
    edges = np.linspace(0, samples, len(COLUMNS) + 1).round().astype(int)
    printed = [
        (lead, row, slice(int(edges[column]), int(edges[column + 1])))
        for column, names in enumerate(COLUMNS)
        for row, lead in enumerate(names)
    ]
    return [*printed, (RHYTHM, len(COLUMNS[0]), slice(0, samples))]


def _fitting_gain(values: NDArray[np.float64]) -> float:
    """Return the largest gain in mm per unit with which the tallest lead fits its row, but for rare extremes."""
    low, high = np.quantile(values, [0.001, 0.999], axis=1)
    tallest = float((high - low).max())
    fitting = [gain for gain in UNCALIBRATED_GAINS if gain * tallest <= UNCALIBRATED_HEIGHT]
    return max(fitting, default=UNCALIBRATED_GAINS[0])


def _draw_paper(axes: Axes, width: float, height: float) -> None:
    for step, colour, line in ((1, SMALL_SQUARE, 0.25), (5, LARGE_SQUARE, 0.5)):
        upright = [[(x, 0), (x, height)] for x in np.arange(0, width + 1, step)]
        level = [[(0, y), (width, y)] for y in np.arange(0, height + 1, step)]
        axes.add_collection(LineCollection(upright + level, colors=colour, linewidths=line, zorder=0))


def _draw_heat(axes: Axes, shares: NDArray[np.float64], start: float, step: float, baseline: float) -> None:
    """Colour a lead's samples; each covers the ``step`` millimetres around it."""
    extent = (start - step / 2, start + step * (len(shares) - 0.5), baseline - 0.4 * ROW, baseline + 0.4 * ROW)
    axes.imshow(
        shares[None],
        cmap=_COLOURS,
        vmin=0,
        vmax=1,
        extent=extent,
        aspect="auto",
        interpolation="bilinear",
        zorder=1,
        label="heat",
    )


def _draw_lead(
    axes: Axes, lead: str, x: NDArray[np.float64], y: NDArray[np.float64], baseline: float, divided: bool
) -> None:
    axes.plot(x, y, color=INK, linewidth=0.8, solid_joinstyle="round", zorder=3, label=lead)
    if divided:
        axes.plot([x[0], x[0]], [baseline - 2.5, baseline + 2.5], color=INK, linewidth=0.5, zorder=2)
    axes.text(x[0] + 1, baseline + 0.33 * ROW, lead, fontsize=9, fontweight="bold", va="center", zorder=4)


def _draw_pulse(axes: Axes, baseline: float) -> None:
    """Draw 1 mV for 0.2 s."""
    x = MARGIN + np.array([0, 2.5, 2.5, 7.5, 7.5, 10]) * PULSE / 10
    axes.plot(x, baseline + GAIN * np.array([0, 0, 1, 1, 0, 0]), color=INK, linewidth=0.8, zorder=3, label="1 mV")


def _draw_key(axes: Axes, width: float) -> None:
    axes.imshow(
        np.linspace(0, 1, 64)[None], cmap=_COLOURS, extent=(width - 35, width - 15, 2, 5), aspect="auto", zorder=1
    )
    axes.text(width - 36, 3.5, "heat map  0", fontsize=8, ha="right", va="center")
    axes.text(width - 14, 3.5, "largest", fontsize=8, va="center")
