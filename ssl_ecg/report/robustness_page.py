"""How a model's score falls with distortion: one page and one figure. Nothing is computed here beyond layout."""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from ssl_ecg.evaluation import Metric
from ssl_ecg.explain.style import BLUE, LINE, STYLE, grid_of, save_figure
from ssl_ecg.report.page import inline, template
from ssl_ecg.report.result_page import PAGE
from ssl_ecg.runs import write_atomically


def robustness_figure(table: pd.DataFrame, metric: Metric, path: str | Path) -> None:
    """Draw a metric against the level, a panel per distortion, from the mildest level on.

    Args:
        table: ``distortion``, ``level``, ``unit``, ``metric``, ``mean``, ``low``, ``high``; clean records as "none".
        metric: that is drawn.
        path: file to write.
    """
    table = table[table["metric"] == metric.name]
    clean, rest = table[table["distortion"] == "none"].iloc[0], table[table["distortion"] != "none"]
    kinds = list(rest["distortion"].unique())
    columns = min(3, len(kinds))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.6, 2.3 * math.ceil(len(kinds) / columns) + 0.3), layout="constrained")
        for axes, kind in zip(grid_of(figure, len(kinds), columns, sharey=True), kinds):
            rows = rest[rest["distortion"] == kind]
            places = range(len(rows))
            axes.axhline(clean["mean"], color=LINE, linewidth=1.6)
            joined = "" if rows["unit"].iloc[0] == "electrodes" else "-"  # kinds of exchange have no order
            axes.errorbar(
                places,
                rows["mean"],
                (rows["mean"] - rows["low"], rows["high"] - rows["mean"]),
                fmt=f"o{joined}",
                color=BLUE,
                markersize=4,
                elinewidth=1.1,
            )
            levels = [f"{level:g}" if isinstance(level, float | int) else str(level) for level in rows["level"]]
            turned: dict[str, Any] = {"rotation": 30, "ha": "right"} if max(map(len, levels)) > 5 else {}
            axes.set_xticks(places, levels, **turned)
            axes.set_title(f"{kind.replace('_', ' ')}, {rows['unit'].iloc[0]}", loc="left", fontsize=9.5)
        figure.supylabel(metric.label, fontsize=9.5)
        save_figure(figure, path)


def write_robustness_page(folder: Path, table: pd.DataFrame, metric: Metric, about: Mapping[str, Any]) -> None:
    """Write ``robustness.svg`` and ``report.html``.

    Args:
        folder: for both.
        table: as of ``robustness_figure``, with ``lost``, ``lost_low``, ``lost_high``.
        metric: that is drawn and listed.
        about: what was asked; ``simulated``, whether the outcomes are.
    """
    robustness_figure(table, metric, folder / "robustness.svg")
    said = dict(about)
    shown = table[table["metric"] == metric.name]
    clean = shown[shown["distortion"] == "none"].iloc[0]
    worst = shown.sort_values("lost", ascending=metric.lower_is_better, kind="stable").iloc[0]
    cells = [
        [
            (row["distortion"].replace("_", " "), ""),
            (f"{row['level']} {row['unit']}".strip(), ""),
            (f"{row['mean']:.3f}", f"{row['low']:.3f} to {row['high']:.3f}"),
            (f"{row['lost']:+.3f}", f"{row['lost_low']:+.3f} to {row['lost_high']:+.3f}"),
        ]
        for row in shown.to_dict("records")
    ]
    caption = "The grey line is the score of the records as they are. Bars: 95 % intervals over patients."
    page = template("result.html.j2").render(
        title="What distortions cost",
        verb="robustness",
        headline=f"{metric.label[:1].upper()}{metric.label[1:]} {clean['mean']:.3f} as recorded; the worst of all: "
        f"{worst['mean']:.3f} with {str(worst['distortion']).replace('_', ' ')}, {worst['level']} {worst['unit']}",
        sentences=["Distortions are simulated, and act on signals after the archive's filters."],
        simulated=said.pop("simulated", False),
        metrics=[],
        others={},
        figures=[
            {"title": "Score by level", "text": caption, "svg": inline(folder / "robustness.svg")},
        ],
        training=None,
        tables=[
            {
                "name": "robustness",
                "title": "Every level",
                "text": "Lost: what the same records score more as they were recorded, paired.",
                "columns": ["distortion", "level", metric.label, "lost"],
                "rows": cells,
            }
        ],
        examples=[],
        said=said,
        downloads=[],
        versions={"ssl_ecg": version("ssl_ecg")},
    )
    write_atomically(folder / PAGE, page)
