"""Figures of one model's result: what thresholds would do, and how it was trained. Nothing is computed but layout."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from ssl_ecg.evaluation import Metric
from ssl_ecg.explain.style import BLUE, LINE, ORANGE, STYLE, grid_of, save_figure

COLOURS = (BLUE, ORANGE, "#2c8a57", "#8a63b8", "#b3417a", "#7d8794")


def operating_curves_figure(table: pd.DataFrame, path: str | Path) -> None:
    """ROC and precision-recall curves of the first classes of a table.

    Args:
        table: ``class``, ``sensitivity``, ``specificity``, ``precision``, a row a threshold; see ``operating_curves``.
        path: file to write.
    """
    with matplotlib.rc_context({**STYLE, "axes.grid.axis": "both"}):
        figure = Figure(figsize=(8.6, 4.6), layout="constrained")
        roc, recall = figure.subplots(1, 2)
        roc.plot([0, 1], [0, 1], color=LINE)
        for (name, curve), colour in zip(table.groupby("class", sort=False), COLOURS):
            wrong, found = 1 - curve["specificity"], curve["sensitivity"]
            roc.plot([0, *wrong], [0, *found], color=colour, label=str(name).replace("_", " "))
            recall.plot(found, curve["precision"], color=colour)
        for axes, x, y in ((roc, "1 - specificity", "Sensitivity"), (recall, "Sensitivity", "Precision")):
            axes.set(xlim=(0, 1), ylim=(0, 1.01), xlabel=x, ylabel=y, aspect="equal")
        figure.legend(loc="outside upper left", ncols=3)
        save_figure(figure, path)


def plane_figure(table: pd.DataFrame, path: str | Path) -> None:
    """Records in the plane of two components, by outcome.

    Args:
        table: ``first``, ``second``, ``first_share``, ``second_share``, ``outcome``; see ``plane``.
        path: file to write.
    """
    with matplotlib.rc_context({**STYLE, "axes.grid.axis": "both"}):
        figure = Figure(figsize=(8.6, 5.2), layout="constrained")
        axes = figure.subplots()
        for (name, points), colour in zip(table.groupby("outcome", sort=True), COLOURS):
            label = f"{str(name).replace('_', ' ')} ({len(points):,})"
            axes.scatter(points["first"], points["second"], 26, color=colour, alpha=0.75, linewidths=0, label=label)
        share = table.iloc[0]
        axes.set_xlabel(f"First component, {share['first_share']:.0%} of the variance")
        axes.set_ylabel(f"Second component, {share['second_share']:.0%}")
        figure.legend(loc="outside upper left", ncols=3)
        save_figure(figure, path)


def training_figure(curve: pd.DataFrame, metric: Metric, path: str | Path) -> None:
    """Loss and the metric that chooses, against the step.

    Args:
        curve: ``step``, ``train_loss``, ``validation_loss`` and ``validation_METRIC``; a row an evaluation.
        metric: that chooses.
        path: file to write.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.6, 3.4), layout="constrained")
        losses, chosen = figure.subplots(1, 2)
        for column, colour, label in (("train_loss", ORANGE, "training"), ("validation_loss", BLUE, "validation")):
            if column in curve:
                losses.plot(curve["step"], curve[column], color=colour, label=label)
        losses.set(xlabel="Step", ylabel="Loss")
        losses.legend()
        name = f"validation_{metric}"
        chosen.plot(curve["step"], curve[name], color=BLUE)
        best = metric.best(range(len(curve)), key=lambda row: curve[name].iloc[row])
        chosen.plot(curve["step"].iloc[best], curve[name].iloc[best], "o", color=BLUE)
        chosen.set(xlabel="Step", ylabel=f"{metric.label}, validation")
        save_figure(figure, path)


def score_figure(scores: pd.DataFrame, path: str | Path) -> None:
    """Records by score, a panel a class.

    Args:
        scores: ``NAME_score`` of each class, between 0 and 1; the first twelve are drawn.
        path: file to write.
    """
    shown = list(scores.columns[:12])
    columns = min(4, len(shown))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(2.15 * columns + 0.4, 1.9 * -(-len(shown) // columns) + 0.4), layout="constrained")
        for axes, name in zip(grid_of(figure, len(shown), columns), shown):
            axes.hist(scores[name], bins=20, range=(0, 1), color=BLUE)
            axes.set(xlim=(0, 1), title=str(name).removesuffix("_score").replace("_", " "))
        save_figure(figure, path)
