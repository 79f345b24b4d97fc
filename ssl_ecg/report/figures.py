"""Figures of a comparison, drawn from its tables. Nothing is computed here beyond layout.

The suffix of the path decides the format.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ssl_ecg.evaluation import Metric, described
from ssl_ecg.explain.style import BLUE, INK, ORANGE, PAPER, STYLE, save_figure


class ArmStyle(NamedTuple):
    """How an arm is named and drawn."""

    label: str
    colour: str
    dash: str
    marker: str


# Hue says pretrained (blue), on simulated hearts alone (green) or not (orange), line and marker say trained network or
# linear probe: the pair stays apart for colour-blind readers and in grey.
ARM_STYLES = {
    "random_probe": ArmStyle("Random encoder, linear probe", "#d08b17", "--", "o"),
    "synthetic_zero_shot": ArmStyle("Simulated hearts, no labels", "#8fbc5a", ":", "D"),
    "synthetic_probe": ArmStyle("Simulated hearts, linear probe", "#5aa469", "--", "o"),
    "synthetic_prior_probe": ArmStyle("Simulated hearts, probe with prior", "#3f7f4c", ":", "P"),
    "pretrained_probe": ArmStyle("Pretrained encoder, linear probe", "#469fe0", "--", "o"),
    "pretrained_prior_probe": ArmStyle("Pretrained encoder, probe with prior", "#2f79b5", ":", "P"),
    "pretrained_boost": ArmStyle("Pretrained encoder, boosted trees", "#7db7d9", ":", "v"),
    "scratch": ArmStyle("Supervised from scratch", ORANGE, "-", "s"),
    "scratch_ensemble": ArmStyle("Two networks from scratch, averaged", "#8f5902", "-.", "^"),
    "scratch_blend": ArmStyle("From scratch and simulated hearts, averaged", "#b5651d", "-.", "v"),
    "synthetic_finetune": ArmStyle("Simulated hearts, fine-tuned", "#2c6e3f", "-", "s"),
    "pretrained_finetune": ArmStyle("Pretrained, fine-tuned", BLUE, "-", "s"),
    "pretrained_blend": ArmStyle("Pretrained, probes and networks averaged", "#204a87", "-.", "^"),
    "external_probe": ArmStyle("Outside encoder, linear probe", "#a384cf", "--", "o"),
    "external": ArmStyle("Outside model, no labels", "#6b4a99", ":", "D"),
}
_OTHER_COLOURS = ("#8a63b8", "#1d9a78", "#c7659c", "#7d8794")


def declared(path: Path, names: Iterable[str], kind: str = "metrics") -> dict[str, Metric]:
    """Return what the JSON file beside some tables says of the metrics in them, in the order of ``names``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it does not declare one of them, so that nobody knows which way is better.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing, which says what the metrics beside it are; make this folder again")
    known = described(path, kind)
    names = list(dict.fromkeys(names))
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"{path} does not say under {kind} what {', '.join(unknown)} is; make this folder again")
    return {name: known[name] for name in names}


def arm_label(arm: str) -> str:
    """Readable name of an arm, or of the difference "a - b" between two arms."""
    if " - " in arm:
        first, second = (arm_label(part) for part in arm.split(" - ", 1))
        return f"{first} \N{MINUS SIGN} {second[0].lower()}{second[1:]}"
    return ARM_STYLES[arm].label if arm in ARM_STYLES else arm


def is_difference(arms: pd.Series) -> pd.Series:
    """Which rows of a summary are paired differences: those whose arm reads "a - b"."""
    return arms.astype(str).str.contains(" - ", regex=False)


def percent(fraction: float) -> str:
    """A label fraction as a reader sees it: 0.01 as "1 %", with a space that does not break."""
    return f"{100 * fraction:g}\N{NO-BREAK SPACE}%"


def signed(value: float, decimals: int = 2) -> str:
    """A difference with its sign, e.g. "+0.05", with a true minus."""
    return f"{value:+.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def label_efficiency_figure(
    summary: pd.DataFrame, metric: Metric, path: str | Path, records: Mapping[float, float] | None = None
) -> None:
    """Metric against the share of labels used, a curve and a band per arm.

    Args:
        summary: ``arm, fraction, metric, mean, low, high`` of one task; differences are ignored.
        metric: Which rows to draw.
        path: File to write, .svg or .png or .pdf.
        records: Labelled training records at each fraction, for the axis.

    Raises:
        ValueError: The summary holds several tasks or no row of the metric.
    """
    rows = _rows(summary[~is_difference(summary["arm"])], metric)
    fractions = sorted(rows["fraction"].unique())
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.6, 4.4), layout="constrained")
        axes = figure.subplots()
        ends = []
        for arm, style in _styles(list(_in_order(rows["arm"]))).items():
            curve = rows[rows["arm"] == arm].sort_values("fraction")
            x = curve["fraction"].to_numpy(dtype=float)
            axes.fill_between(x, curve["low"], curve["high"], color=style.colour, alpha=0.15, linewidth=0)
            face = style.colour if style.dash == "-" else PAPER
            axes.plot(x, curve["mean"], style.dash, marker=style.marker, color=style.colour, markerfacecolor=face)
            ends.append((float(curve["mean"].iloc[-1]), style.label, style.colour))
        axes.set_xscale("log")
        axes.set_xlim(fractions[0] / 1.25, fractions[-1] * 1.25)
        axes.set_xticks(fractions, _fraction_ticks(fractions, records))
        axes.minorticks_off()
        axes.set_xlabel("Share of the training labels used" + (" and number of labelled ECGs" if records else ""))
        axes.set_ylabel(capital(metric.label) + ", test patients")
        label_ends(axes, ends)
        save_figure(figure, path)


def difference_figure(
    summary: pd.DataFrame, metric: Metric, path: str | Path, records: Mapping[float, float] | None = None
) -> None:
    """Paired differences with their intervals at each label fraction; filled where the interval excludes 0.

    Args:
        summary: ``arm, fraction, metric, mean, low, high`` of one task; only rows whose arm is "a - b" are drawn.
        metric: Which rows to draw.
        path: File to write.
        records: Labelled training records at each fraction, for the axis.

    Raises:
        ValueError: The summary holds several tasks or no difference of the metric.
    """
    rows = _rows(summary[is_difference(summary["arm"])], metric)
    fractions = sorted(rows["fraction"].unique())
    styles = _styles(list(rows["arm"].unique()))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.6, 3.4 + 0.22 * len(styles)), layout="constrained")
        axes = figure.subplots()
        axes.axhline(0, color=INK, linewidth=1)
        shifts = np.linspace(-0.5, 0.5, len(styles)) * min(0.5, 0.16 * (len(styles) - 1))
        for (arm, style), shift in zip(styles.items(), shifts, strict=True):
            points = rows[rows["arm"] == arm]
            x = np.array([fractions.index(f) for f in points["fraction"]]) + shift
            axes.vlines(x, points["low"], points["high"], color=style.colour, linewidth=2)
            clear = (points["low"] > 0) | (points["high"] < 0)
            faces = [style.colour if c else PAPER for c in clear]
            edge: Any = {"marker": style.marker, "edgecolors": style.colour, "linewidths": 1.6}
            axes.scatter(x, points["mean"], 44, c=faces, zorder=3, **edge)
            axes.scatter([], [], 44, c=style.colour, label=style.label, **edge)
        axes.set_xlim(-0.5, len(fractions) - 0.5)
        axes.set_xticks(range(len(fractions)), _fraction_ticks(fractions, records))
        axes.set_xlabel("Share of the training labels used" + (" and number of labelled ECGs" if records else ""))
        axes.set_ylabel(f"Difference in {metric.label}" + (", lower is better" if metric.lower_is_better else ""))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_formatter(lambda value, _: signed(value) if abs(value) > 1e-9 else "0")
        figure.legend(loc="outside upper left", handletextpad=0.2)
        save_figure(figure, path)


def learning_curves_figure(runs: pd.DataFrame, metric: Metric, path: str | Path) -> None:
    """Loss and a validation metric against training step, a column per label fraction, a thin line per run.

    Args:
        runs: ``arm, fraction, seed, step, train_loss, validation_loss`` and ``validation_METRIC``, one row per
            evaluation.
        metric: the metric to draw.
        path: File to write.
    """
    fractions = sorted(runs["fraction"].unique())
    styles = _styles(list(_in_order(runs["arm"])))
    label = f"Validation {metric.label}"
    panels = (("Loss", ("validation_loss", "train_loss")), (label, (f"validation_{metric}",)))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(max(7.2, 2.1 * len(fractions) + 0.8), 4.6), layout="constrained")
        grid = figure.subplots(2, len(fractions), sharex="col", sharey="row", squeeze=False)
        for (label, columns), line_of_axes in zip(panels, grid, strict=True):
            line_of_axes[0].set_ylabel(label)
            for axes, fraction in zip(line_of_axes, fractions, strict=True):
                at_fraction = runs[runs["fraction"] == fraction]
                for (arm, _), run in at_fraction.groupby(["arm", "seed"], sort=False):
                    for column, dash in zip(columns, ("-", ":"), strict=False):
                        axes.plot(run["step"], run[column], dash, color=styles[str(arm)].colour, linewidth=1)
        for i, fraction in enumerate(fractions):
            grid[0, i].set_title(percent(fraction))
            grid[1, i].set_xlabel("Step")
        for style in styles.values():
            grid[0, 0].plot([], [], color=style.colour, label=style.label)
        grid[0, 0].plot([], [], ":", color=INK, linewidth=1, label="training loss")
        figure.legend(loc="outside upper left", ncols=len(styles) + 1)
        save_figure(figure, path)


def collapse_figure(log: pd.DataFrame, path: str | Path) -> None:
    """Pretraining at a glance: losses, and whether features collapse (their spread falls to 0, their rank to 1).

    Args:
        log: ``epoch`` with any of ``train_loss``, ``validation_loss``, ``feature_deviation``, ``effective_rank``.
        path: File to write.

    Raises:
        ValueError: None of the columns is there.
    """
    panels = {
        "Pretraining loss": {"train_loss": "training", "validation_loss": "validation"},
        "Standard deviation of features": {"feature_deviation": ""},
        "Effective rank of features": {"effective_rank": ""},
    }
    shown = {title: {c: n for c, n in columns.items() if c in log} for title, columns in panels.items()}
    shown = {title: columns for title, columns in shown.items() if columns}
    if not shown:
        raise ValueError(f"pretraining log has none of {[c for p in panels.values() for c in p]}: {list(log)}")
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(2.9 * len(shown), 2.6), layout="constrained")
        for axes, (title, columns) in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown.items(), strict=True):
            for (column, name), colour in zip(columns.items(), (BLUE, ORANGE), strict=False):
                values = log[["epoch", column]].dropna()
                axes.plot(values["epoch"], values[column], color=colour, label=name)
            axes.set_title(title)
            axes.set_xlabel("Epoch")
            if title != "Pretraining loss":
                axes.set_ylim(bottom=0)
            if len(columns) > 1:
                axes.legend()
        save_figure(figure, path)


def _rows(summary: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    if "task" in summary and summary["task"].nunique() > 1:
        raise ValueError(f"a figure shows one task, got {sorted(summary['task'].unique())}: select one")
    rows = summary[summary["metric"] == metric.name]
    if rows.empty:
        raise ValueError(f"summary has no row to draw for metric {metric.name!r}: {sorted(summary['metric'].unique())}")
    return rows


def _in_order(arms: pd.Series) -> list[str]:
    present = [str(arm) for arm in arms.unique()]
    return [arm for arm in ARM_STYLES if arm in present] + [arm for arm in present if arm not in ARM_STYLES]


def _styles(arms: Sequence[str]) -> dict[str, ArmStyle]:
    """A style for each arm; a difference takes that of its first arm as long as that is free."""
    spare = iter(_OTHER_COLOURS * len(arms))
    styles: dict[str, ArmStyle] = {}
    for arm in arms:
        style = ARM_STYLES.get(arm.split(" - ")[0])
        if style is None or style.colour in {s.colour for s in styles.values()}:
            style = ArmStyle(arm, next(spare), "-", "D")
        styles[arm] = style._replace(label=arm_label(arm))
    return styles


def _fraction_ticks(fractions: Sequence[float], records: Mapping[float, float] | None) -> list[str]:
    return [percent(f) + (f"\n{records[f]:,.0f}" if records and f in records else "") for f in fractions]


def capital(text: str) -> str:
    """A label as it begins a line."""
    return text[:1].upper() + text[1:]


def label_ends(axes: Axes, ends: list[tuple[float, str, str]]) -> None:
    """Writes a label beside the end of each curve (its height, label and colour), pushed apart where curves meet."""
    bottom, top = axes.get_ylim()
    gap = 0.065 * (top - bottom)
    ends = sorted(ends, key=lambda end: end[0])
    heights = np.array([height for height, *_ in ends])
    for _ in range(100):  # neighbours repel until all are a line apart
        overlap = np.clip(gap - np.diff(heights), 0, None)
        heights[1:] += overlap / 2
        heights[:-1] -= overlap / 2
    heights -= max(heights[-1] - top, 0)
    for height, (_, label, colour) in zip(heights, ends, strict=True):
        transform = axes.get_yaxis_transform()
        axes.text(1.01, height, label, color=colour, fontweight="bold", va="center", transform=transform)
