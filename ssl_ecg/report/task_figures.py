"""Figures of a task's result, drawn from the tables in its folder. Nothing is computed here beyond layout."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from textwrap import fill

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LinearLocator, PercentFormatter

from ssl_ecg.evaluation import Metric, described
from ssl_ecg.explain.style import BLUE, INK, LINE, ORANGE, STYLE, grid_of, save_figure
from ssl_ecg.report.figures import declared
from ssl_ecg.report.survival_figures import kaplan_meier_figure, risk_calibration_figure, survival_curves_figure

DRAWN = {
    "per_class": "per_class",
    "calibration": "calibration",
    "kaplan_meier": "kaplan_meier",
    "survival_curves": "predictions",
    "decision_curve": "decision_curve",
    "subgroups": "subgroups",
}
"""Name of each figure and of the table that it draws."""
MOST_CALIBRATED, MOST_CLASSES = 12, 40
"""Classes that a figure of calibration, and one of classes, shows: the most frequent ones."""


def draw_task(folder: str | Path) -> list[str]:
    """Draw what the tables of a result's folder hold.

    Args:
        folder: where ``probe``, ``finetune`` or ``evaluate`` wrote. Read are the tables of ``DRAWN``, and from
            ``metrics.json`` what holds for all records, and from ``meanings.json`` what each metric is.

    Returns:
        Names of the figures, SVG files in the same folder.
    """
    folder = Path(folder)
    class_metrics = described(folder / "meanings.json", "class_metrics")
    metrics = json.loads((folder / "metrics.json").read_text("utf-8")) if (folder / "metrics.json").is_file() else {}
    everyone = {name: math.nan if value is None else value for name, value in metrics.items()}
    names = []
    for name, source in DRAWN.items():
        if not (folder / f"{source}.csv").is_file():
            continue
        table = pd.read_csv(folder / f"{source}.csv")
        of_classes = [metric for column, metric in class_metrics.items() if column in table]
        draw: Callable[[pd.DataFrame, Path], None] | None
        if name == "subgroups":
            (metric,) = declared(folder / "meanings.json", table["metric"].head(1)).values()
            draw = partial(subgroups_figure, metric=metric, everyone=everyone)
        else:
            draw = _drawing(name, table, of_classes)
        if draw is not None:
            draw(table, folder / f"{name}.svg")
            names.append(f"{name}.svg")
    return names


def _drawing(
    name: str, table: pd.DataFrame, class_metrics: Sequence[Metric]
) -> Callable[[pd.DataFrame, Path], None] | None:
    """Return what draws a table as this figure, or None where the table has nothing for it."""
    if name == "per_class":  # one number per class, or one class, is read in the table
        return partial(per_class_figure, metrics=class_metrics) if min(len(table), len(class_metrics)) > 1 else None
    if name == "calibration":
        return calibration_figure if "class" in table else risk_calibration_figure
    if name == "survival_curves":
        return survival_curves_figure if any(re.fullmatch(r"survival_[\d.e+]+", str(c)) for c in table) else None
    if name == "decision_curve" and not len(table):
        return None
    several = "class" in table and table["class"].nunique() > 1
    decision = decision_curves_figure if several else decision_curve_figure
    return {"kaplan_meier": kaplan_meier_figure, "decision_curve": decision}[name]


def per_class_figure(table: pd.DataFrame, path: str | Path, metrics: Sequence[Metric]) -> None:
    """Metrics of each class, the most frequent one first; no dot where the records do not define one.

    Args:
        table: ``class``, ``positives_test`` and a column for each metric.
        path: file to write.
        metrics: what to show, between 0 and 1; a panel each.
    """
    shown = table.sort_values("positives_test", ascending=False, kind="stable").head(MOST_CLASSES)
    places = -np.arange(len(shown))
    with matplotlib.rc_context({**STYLE, "axes.grid.axis": "x"}):
        figure = Figure(figsize=(8.6, 1.1 + 0.24 * len(shown)), layout="constrained")
        panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
        for axes, metric in zip(panels, metrics, strict=True):
            axes.hlines(places, 0.0, shown[metric.name], color=LINE, linewidth=1.6)
            axes.scatter(shown[metric.name], places, 34, color=BLUE, zorder=3, clip_on=False)
            axes.set(xlim=(0, 1), ylim=(places[-1] - 0.6, 0.6), xlabel=f"{metric.label}, test records")
            axes.tick_params(axis="y", length=0)
        counted = zip(shown["class"], shown["positives_test"])
        panels[0].set_yticks(places, [f"{_words(name)}  {count:,}" for name, count in counted])
        heading = "Class, positive records" + _of(shown, table)
        panels[0].text(-0.02, 1.0, heading, ha="right", va="bottom", fontweight="bold", transform=panels[0].transAxes)
        save_figure(figure, path)


def calibration_figure(table: pd.DataFrame, path: str | Path) -> None:
    """Observed frequency, with its interval, against predicted, a panel per class, on a scale of its own.

    Args:
        table: ``class``, ``positives``, ``predicted``, ``observed``, ``low``, ``high``; one row per class and group.
        path: file to write.
    """
    positives = table.groupby("class", sort=False)["positives"].sum().sort_values(ascending=False, kind="stable")
    shown = positives.head(MOST_CALIBRATED)
    columns = min(4, len(shown))
    rows = math.ceil(len(shown) / columns)
    size = 4.4 if len(shown) == 1 else 2.15
    with matplotlib.rc_context({**STYLE, "axes.grid.axis": "both"}):
        figure = Figure(figsize=(size * columns + 0.4, size * rows + 0.5), layout="constrained")
        for axes, (name, count) in zip(grid_of(figure, len(shown), columns), shown.items()):
            points = table[table["class"] == name]
            top = min(1.0, math.ceil(10 * points[["predicted", "high"]].to_numpy(dtype=float).max()) / 10)
            axes.plot([0, top], [0, top], color=LINE, linewidth=1.6, zorder=1)
            axes.vlines(points["predicted"], points["low"], points["high"], color=BLUE, linewidth=1.1)
            axes.scatter(points["predicted"], points["observed"], 22, color=BLUE, zorder=3, clip_on=False)
            axes.set(xlim=(0, top), ylim=(0, top), aspect="equal")
            axes.set_title(f"{fill(_words(name), 22)}\n{count:,} positive")
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_locator(LinearLocator(3))
                axis.set_major_formatter(_percent())
        figure.supxlabel("Predicted probability, by tenth" + _of(shown, positives), fontsize=9.5)
        figure.supylabel("Share of positive records, 95 % interval", fontsize=9.5)
        save_figure(figure, path)


_CHOICES = (
    ("net_benefit", "on those whom the model names", BLUE, "-"),
    ("treat_all", "on everyone", ORANGE, "--"),
    ("treat_none", "on no one", INK, ":"),
)


def _percent() -> PercentFormatter:
    """A formatter of its own for each axis, whose limits it reads."""
    return PercentFormatter(1, decimals=0, symbol="\N{NO-BREAK SPACE}%")


def decision_curves_figure(table: pd.DataFrame, path: str | Path) -> None:
    """Net benefit of acting on each class's probability, a panel per class, on a scale of its own.

    Args:
        table: as of ``decision_curve_figure``, with ``class``; the classes most worth acting upon are drawn.
        path: file to write.
    """
    most = table.groupby("class", sort=False)["treat_all"].max().sort_values(ascending=False, kind="stable")
    shown = most.head(MOST_CALIBRATED)
    columns = min(4, len(shown))
    rows = math.ceil(len(shown) / columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(max(6.8, 2.15 * columns + 0.4), 2.2 * rows + 0.9), layout="constrained")
        grid = grid_of(figure, len(shown), columns, sharex=True)
        for axes, name in zip(grid, shown.index):
            curve = table[table["class"] == name]
            top = max(float(curve[["net_benefit", "treat_all"]].to_numpy().max()), 1e-3)
            for column, label, colour, dash in _CHOICES:
                axes.plot(curve["threshold"], curve[column], dash, color=colour, label=label)
            axes.set(ylim=(-0.25 * top, 1.08 * top), xlim=(0, float(curve["threshold"].max())))
            axes.set_title(fill(_words(name), 22))
            axes.xaxis.set_major_formatter(_percent())
        figure.legend(*grid[0].get_legend_handles_labels(), loc="outside upper left", ncols=3)
        figure.supxlabel("Probability from which one would act" + _of(shown, most), fontsize=9.5)
        figure.supylabel("Net benefit of acting", fontsize=9.5)
        save_figure(figure, path)


def decision_curve_figure(table: pd.DataFrame, path: str | Path) -> None:
    """Net benefit of acting on the predicted risk, on everyone or on no one; below, whom the risk names.

    Args:
        table: ``threshold``, ``net_benefit``, ``treat_all``, ``treat_none``, ``named``.
        path: file to write.
    """
    top = max(float(table[["net_benefit", "treat_all"]].to_numpy().max()), 1e-3)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.6, 4.9), layout="constrained")
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        for column, label, colour, dash in _CHOICES:
            axes.plot(table["threshold"], table[column], dash, color=colour, label=label)
        axes.set_ylim(-0.25 * top, 1.08 * top)
        axes.set_ylabel("Net benefit of acting")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=3)
        below.fill_between(table["threshold"], table["named"], color=BLUE, alpha=0.2, linewidth=0)
        below.plot(table["threshold"], table["named"], color=BLUE)
        below.set(ylim=(0, 1), ylabel="Records\nnamed", xlim=(0, float(table["threshold"].max())))
        below.set_xlabel("Risk from which one would act")
        for axis in (below.xaxis, below.yaxis):
            axis.set_major_formatter(_percent())
        save_figure(figure, path)


def subgroups_figure(
    table: pd.DataFrame, path: str | Path, metric: Metric, everyone: dict[str, float] | None = None
) -> None:
    """Forest plot of a metric, with numbers of patients; groups that do not define it stay empty.

    Args:
        table: ``column``, ``group``, ``patients``, ``positives_OUTCOME`` (shown where there is one outcome),
            ``metric``, ``mean``, ``low``, ``high``.
        path: file to write.
        metric: which rows to draw.
        everyone: the same metric of all records, with ``_low`` and ``_high``.
    """
    outcomes = [str(name) for name in table if str(name).startswith("positives_")]
    rows: list[tuple[str, str, float, float, float]] = []
    if everyone:
        rows.append(("all", "", everyone[metric.name], everyone[f"{metric}_low"], everyone[f"{metric}_high"]))
    for column, members in table[table["metric"] == metric.name].groupby("column", sort=False):
        rows.append((_words(column), "", math.nan, math.nan, math.nan))
        for row in members.to_dict("records"):
            counts = f"{row['patients']:,}" + (f" ({row[outcomes[0]]:,})" if len(outcomes) == 1 else "")
            rows.append((f"   {row['group']}", counts, row["mean"], row["low"], row["high"]))
    with matplotlib.rc_context({**STYLE, "axes.grid.axis": "x"}):
        figure = Figure(figsize=(8.6, 1.0 + 0.27 * len(rows)), layout="constrained")
        axes = figure.subplots()
        if everyone:
            axes.axvline(everyone[metric.name], color=LINE, linewidth=1.6, zorder=1)
        beside = axes.get_yaxis_transform()
        for place, (_, counts, mean, low, high) in enumerate(rows):
            axes.plot([low, high], [-place, -place], color=BLUE, linewidth=2)
            axes.plot(mean, -place, "o" if counts else "s", color=BLUE, markersize=6.5)
            axes.text(-0.015, -place, counts, ha="right", va="center", transform=beside)
            if counts or not math.isnan(mean):
                axes.text(1.02, -place, _interval(mean, low, high), va="center", transform=beside)
        axes.set_yticks(-np.arange(len(rows)), [name for name, *_ in rows], ha="left")
        axes.tick_params(axis="y", length=0, pad=90 + 5.2 * max(len(name) for name, *_ in rows))
        for label, (_, counts, *_) in zip(axes.get_yticklabels(), rows):
            label.set(verticalalignment="center", fontweight="normal" if counts else "bold")
        axes.set(ylim=(-len(rows) + 0.4, 0.6), xlabel=f"{metric.label}, 95 % interval")
        counted = "records" if (everyone or {}).get("records_of_unknown_patients") else "patients"
        heading = f"{counted} (positive records)" if len(outcomes) == 1 else counted
        axes.text(-0.015, 1.0, heading, ha="right", va="bottom", transform=axes.transAxes)
        save_figure(figure, path)


def _interval(mean: float, low: float, high: float) -> str:
    if math.isnan(mean):
        return "not defined"
    return f"{mean:.3f}" + ("" if math.isnan(low) else f" ({low:.3f} to {high:.3f})")


def _words(name: object) -> str:
    return str(name).replace("_", " ")


def _of(shown: pd.DataFrame | pd.Series, all_of_them: pd.DataFrame | pd.Series) -> str:
    left_out = len(all_of_them) - len(shown)
    return f" (the {len(shown)} most frequent of {len(all_of_them)} classes)" if left_out else ""
