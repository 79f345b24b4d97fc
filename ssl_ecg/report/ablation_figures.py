"""Figures of an ablation, drawn from the tables in its folder. Nothing is computed here beyond layout."""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ssl_ecg.evaluation import Metric
from ssl_ecg.explain.style import BLUE, INK, LINE, ORANGE, PAPER, STYLE, grid_of, save_figure
from ssl_ecg.report.figures import declared, is_difference, percent

METHODS = {"probe": "Linear probe", "finetune": "Finetuned"}
RANDOM = "random-"
"""How the names of random weights begin."""


def draw_ablation(folder: str | Path) -> list[str]:
    """Draw what the tables of an ablation's folder hold.

    Args:
        folder: where ``ablate`` wrote ``summary.csv``, ``pretraining.csv`` and ``ablation.json``.

    Returns:
        Names of the figures, SVG files in the same folder.
    """
    folder = Path(folder)
    names = []
    if (folder / "summary.csv").is_file():
        summary = pd.read_csv(folder / "summary.csv")
        (metric,) = declared(folder / "ablation.json", summary["metric"].head(1)).values()
        ablation_figure(summary, metric, folder / "ablation.svg")
        names.append("ablation.svg")
    if (folder / "pretraining.csv").is_file():
        pretraining_figure(pd.read_csv(folder / "pretraining.csv"), folder / "pretraining.svg")
        names.append("pretraining.svg")
    return names


def ablation_figure(summary: pd.DataFrame, metric: Metric, path: str | Path) -> None:
    """Every variant's test metric with its interval, the best on top; random weights are hollow.

    A panel for each method and label fraction.

    Args:
        summary: ``arm`` ("VARIANT probe" or "VARIANT finetune"), ``fraction, metric, mean, low, high``;
            differences are not drawn.
        metric: which rows, and which way is better.
        path: file to write.
    """
    rows = summary[(summary["metric"] == metric.name) & ~is_difference(summary["arm"])].copy()
    rows[["variant", "method"]] = rows["arm"].str.rsplit(" ", n=1, expand=True)
    every = rows.groupby("variant")["mean"].mean().sort_values(ascending=metric.lower_is_better).index
    place = {name: -i for i, name in enumerate(every)}
    panels = [(method, part) for method in METHODS for part in rows[rows["method"] == method].groupby("fraction")]
    with matplotlib.rc_context({**STYLE, "axes.grid.axis": "x"}):
        figure = Figure(figsize=(1.9 + 2.1 * len(panels), 1.2 + 0.25 * len(every)), layout="constrained")
        grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (method, (fraction, part)) in zip(grid, panels, strict=True):
            height = part["variant"].map(place).to_numpy()
            random = part["variant"].str.startswith(RANDOM).to_numpy()
            colours = np.where(random, ORANGE, BLUE)
            axes.hlines(height, part["low"], part["high"], color=colours, linewidth=1.6)
            axes.scatter(
                part["mean"], height, 34, c=np.where(random, PAPER, BLUE), edgecolors=colours, linewidths=1.6, zorder=3
            )
            axes.set_title(f"{METHODS[method]}, {percent(float(str(fraction)))}")
            axes.xaxis.set_major_locator(MaxNLocator(nbins=3, steps=[1, 2, 5, 10]))
            axes.tick_params(axis="y", length=0)
        grid[0].set_yticks(list(place.values()), list(place))
        grid[0].set_ylim(-len(place) + 0.4, 0.6)
        figure.supxlabel(f"Test patients, {metric.label}", fontsize=9.5)
        save_figure(figure, path)


def pretraining_figure(log: pd.DataFrame, path: str | Path) -> None:
    """Validation loss of every pretraining against its epochs; training is dotted.

    A panel per variant, a line per seed.

    Args:
        log: ``variant, seed, epoch, train_loss, validation_loss``.
        path: file to write.
    """
    every = list(log["variant"].unique())
    across = min(4, len(every))
    down = math.ceil(len(every) / across)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(2.3 * across, 0.4 + 1.75 * down), layout="constrained")
        grid = grid_of(figure, len(every), across)
        for axes, name in zip(grid, every):
            for _, run in log[log["variant"] == name].groupby("seed"):
                axes.plot(run["epoch"], run["train_loss"], ":", color=INK, linewidth=1)
                axes.plot(run["epoch"], run["validation_loss"], color=BLUE, linewidth=1.4)
            axes.set_title(name)
            axes.spines["bottom"].set_color(LINE)
        grid[0].plot([], [], color=BLUE, label="validation loss")
        grid[0].plot([], [], ":", color=INK, linewidth=1, label="training loss")
        figure.legend(loc="outside upper left", ncols=2)
        figure.supxlabel("Epoch", fontsize=9.5)
        save_figure(figure, path)
