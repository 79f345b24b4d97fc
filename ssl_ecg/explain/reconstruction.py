"""What a masked autoencoder was shown, what was hidden, and what it made of that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from ssl_ecg.explain.style import BLUE, INK, LINE, ORANGE, STYLE

HIDDEN, PREDICTED = ORANGE, BLUE


def reconstruction_figure(
    pictures: Mapping[str, Mapping[str, Any]],
    leads: Sequence[str],
    sampling_rate: float,
    samples: int,
    shown: Sequence[str] = ("II", "V2", "V5"),
    records: int = 2,
) -> Figure:
    """Draw original, hidden parts and reconstruction of a few records and leads.

    Args:
        pictures: "signal" and, where there is one, "spectrum": each with "original" and "reconstruction" [B, L, T] and
            "mask" [B, L, T], True where hidden; what ``reconstruct`` of a masked objective returns.
        leads: names of the L leads.
        sampling_rate: Hz of the signal.
        samples: length T of the signal, of which pictures may lack the samples that fill no patch.
        shown: leads to draw, of those that are there; the first ones where none is.
        records: how many of the B records to draw.

    Returns:
        A figure: one row per record and lead, one column for the signal and one for the spectrum.
    """
    rows = [leads.index(name) for name in shown if name in leads] or list(range(min(len(leads), len(shown))))
    records = min(records, len(pictures["signal"]["original"]))
    width = 8.6 if len(pictures) == 1 else 12.0
    with matplotlib.rc_context({**STYLE, "lines.linewidth": 1.0}):
        figure = Figure(figsize=(width, 1.0 + 1.15 * records * len(rows)), layout="constrained")
        grid = figure.subplots(
            records * len(rows), len(pictures), sharex="col", squeeze=False, width_ratios=[2, 1][: len(pictures)]
        )
        for column, (name, parts) in enumerate(pictures.items()):
            original, reconstruction, hidden = (
                np.asarray(parts[part]) for part in ("original", "reconstruction", "mask")
            )
            # Sample k lies at k / rate seconds, bin k of the spectrum at k * rate / T hertz.
            step = 1 / sampling_rate if name == "signal" else sampling_rate / samples
            x = step * np.arange(original.shape[-1])
            for row, axes in enumerate(grid[:, column]):
                record, lead = divmod(row, len(rows))
                lead = rows[lead]
                mask = hidden[record, lead]
                axes.grid(visible=False)
                axes.fill_between(
                    x,
                    0,
                    1,
                    where=mask,
                    step="mid",
                    color=LINE,
                    alpha=0.6,
                    linewidth=0,
                    transform=axes.get_xaxis_transform(),
                )
                axes.plot(x, original[record, lead], color=HIDDEN, alpha=0.75, label="hidden original")
                axes.plot(x, np.where(mask, np.nan, original[record, lead]), color=INK, label="shown to the network")
                axes.plot(
                    x, np.where(mask, reconstruction[record, lead], np.nan), color=PREDICTED, label="reconstruction"
                )
                axes.set_yticks([])
                if not column:
                    axes.set_ylabel(f"{record + 1}: {leads[lead]}", rotation=0, ha="right", va="center")
            grid[-1, column].set_xlabel("time (s)" if name == "signal" else "frequency (Hz)")
            grid[0, column].set_title("Signal" if name == "signal" else "Magnitude spectrum")
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return figure
