"""Figures of survival: observed by quarter of the predicted risk, predicted for single records, and calibration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ssl_ecg.explain.style import BLUE, LINE, ORANGE, PAPER, STYLE, save_figure
from ssl_ecg.report.figures import label_ends, percent

YEAR = 365.0
# From low to high risk: darker, and of another dash, so that order shows in grey as well.
_SHADES = LinearSegmentedColormap.from_list("risk", ("#4aa2e2", BLUE, "#0d4f8b", "#071f3a"))
_DASHES: Any = (":", "-.", "--", (0, (8, 1.5)), "-")
_SHOWN = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Quantiles of the predicted risk whose records are drawn."""


def kaplan_meier_figure(table: pd.DataFrame, path: str | Path) -> None:
    """Observed share without the event over time, one curve per group of predicted risk, with numbers at risk below.

    Args:
        table: ``group`` from the lowest risk upwards, ``time``, ``at_risk``, ``survival``, ``low``, ``high``.
        path: file to write.
    """
    groups = sorted(table["group"].unique())
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.6, 4.0 + 0.24 * len(groups)), layout="constrained")
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(12, len(groups) + 1))
        ends, names = [], _quantile_names(len(groups))
        days = np.sort(table["time"].unique())
        ticks = days[np.unique(np.linspace(0, len(days) - 1, 6).round().astype(int))]
        for i, group in enumerate(groups):
            curve = table[table["group"] == group].sort_values("time").set_index("time")
            colour, dash = _shade(i, len(groups))
            axes.step(curve.index, curve["survival"], linestyle=dash, where="post", color=colour)
            beside = ticks[1:] + (i - (len(groups) - 1) / 2) * 0.008 * days[-1]
            axes.vlines(beside, *(curve.loc[ticks[1:], end] for end in ("low", "high")), color=colour, linewidth=1.4)
            ends.append((float(curve["survival"].iloc[-1]), names[i], colour))
            for day in ticks:
                below.text(day, -i, f"{curve.loc[day, 'at_risk']:,.0f}", ha="center", va="center", color=colour)
            below.text(1.04, -i, names[i], va="center", color=colour, transform=below.get_yaxis_transform())
        _over_time(axes, days[-1], ticks)
        axes.tick_params(labelbottom=True)
        axes.set_ylabel("Share without the event, 95 % interval")
        axes.set_xlim(right=1.015 * days[-1])
        label_ends(axes, ends)
        below.set(ylim=(-len(groups) + 0.4, 0.9), title="Records at risk")
        below.grid(visible=False)
        below.set_axis_off()
        save_figure(figure, path)


def survival_curves_figure(predictions: pd.DataFrame, path: str | Path) -> None:
    """Predicted survival of a few records, picked evenly by their risk, and the mean of all records.

    Args:
        predictions: one row per record, with columns ``survival_DAY``.
        path: file to write.
    """
    columns = [name for name in predictions if str(name).startswith("survival_")]
    days = np.array([0.0, *(float(str(name).removeprefix("survival_")) for name in columns)])
    curves = np.column_stack([np.ones(len(predictions)), predictions[columns].to_numpy(dtype=float)])
    curves = curves[np.argsort(1 - curves[:, -1], kind="stable")]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.6, 4.0), layout="constrained")
        axes = figure.subplots()
        ends = []
        for i, quantile in enumerate(_SHOWN):
            colour, dash = _shade(i, len(_SHOWN))
            curve = curves[round(quantile * (len(curves) - 1))]
            axes.plot(days, curve, linestyle=dash, color=colour)
            ends.append((curve[-1], f"{percent(quantile)} have a lower risk", colour))
        mean = curves.mean(axis=0)
        axes.plot(days, mean, color=ORANGE, linewidth=2.6)
        ends.append((mean[-1], f"mean of {len(curves):,} records", ORANGE))
        _over_time(axes, days[-1], np.linspace(0, days[-1], 6))
        axes.set_ylabel("Predicted share without the event")
        label_ends(axes, ends)
        save_figure(figure, path)


def risk_calibration_figure(table: pd.DataFrame, path: str | Path) -> None:
    """Observed against predicted risk at the horizon, one point per group of records of like risk, with intervals.

    Args:
        table: ``predicted``, ``observed``, ``low``, ``high``, ``records``, ``at_risk``. A point is hollow where nobody
            of the group was followed to the horizon.
        path: file to write.
    """
    shown = table.dropna(subset=["predicted", "observed"])
    top = 1.06 * float(np.nanmax(shown[["predicted", "observed", "high"]].to_numpy(dtype=float)))
    with matplotlib.rc_context({**STYLE, "axes.grid.axis": "both"}):
        figure = Figure(figsize=(4.8, 4.6), layout="constrained")
        axes = figure.subplots()
        axes.plot([0, top], [0, top], color=LINE, linewidth=1.6, zorder=1)
        axes.text(0.97 * top, 0.985 * top, "as predicted", ha="right", rotation=45, rotation_mode="anchor")
        axes.vlines(shown["predicted"], shown["low"], shown["high"], color=BLUE, linewidth=1.8)
        faces = [BLUE if left else PAPER for left in shown["at_risk"] > 0]
        axes.scatter(shown["predicted"], shown["observed"], 46, c=faces, edgecolors=BLUE, linewidths=1.6, zorder=3)
        axes.set(xlim=(0, top), ylim=(0, top), aspect="equal")
        axes.set_xlabel("Predicted risk at the horizon")
        axes.set_ylabel("Observed risk, 95 % interval")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
            axis.set_major_formatter(PercentFormatter(1, symbol="\N{NO-BREAK SPACE}%"))
        save_figure(figure, path)


def _over_time(axes: Axes, last: float, ticks: np.ndarray) -> None:
    years = last > 2 * YEAR
    axes.set_xlim(0, last)
    axes.set_xticks(ticks, [f"{day / YEAR:.3g}" if years else f"{day:.0f}" for day in ticks])
    axes.set_xlabel("Years after the ECG" if years else "Days after the ECG")
    axes.set_ylim(top=1.0)
    axes.yaxis.set_major_formatter(PercentFormatter(1, symbol="\N{NO-BREAK SPACE}%"))


def _quantile_names(groups: int) -> list[str]:
    if groups != 4:
        return [f"risk group {i + 1} of {groups}" for i in range(groups)]
    return ["lowest quarter of risk", "second quarter", "third quarter", "highest quarter of risk"]


def _shade(i: int, count: int) -> tuple[str, Any]:
    """Colour and dash of curve i of ``count``, from low to high risk."""
    dashes = _DASHES if count > 4 else (*_DASHES[:3], _DASHES[-1])
    return to_hex(_SHADES(i / max(1, count - 1))), dashes[i % len(dashes)]
