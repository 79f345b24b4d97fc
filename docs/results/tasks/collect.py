"""The tables and the figure of this page, from the runs of ``run.py``: ``python collect.py OUT FOLDER``."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from ssl_ecg.evaluation import AUROC, C_INDEX
from ssl_ecg.explain.style import STYLE, save_figure
from ssl_ecg.report.figures import ARM_STYLES, percent

COMPARISONS = {
    "synthetic_af_survival": "AF-free survival, synthetic ECGs",
    "simulated_af_survival": "AF-free survival, simulated for PTB-XL",
    "synthetic_low_lvef": "Low LVEF, synthetic ECGs",
    "simulated_low_lvef": "Low LVEF, simulated for PTB-XL",
}
CHOSEN_BY = {metric.name: metric.label for metric in (C_INDEX, AUROC)}


def gather(out: Path, name: str) -> pd.DataFrame:
    """Return one table of all comparisons, with a column ``comparison``."""
    tables = {key: pd.read_csv(out / key / name) for key in COMPARISONS if (out / key / name).is_file()}
    return pd.concat(tables, names=["comparison"]).reset_index(level=0).reset_index(drop=True)


def draw(summary: pd.DataFrame, truth: pd.DataFrame, path: Path) -> None:
    """Draw every arm's score with its interval, a panel a comparison; a line where the true risk itself would score."""
    arms = [arm for arm in ARM_STYLES if arm in set(summary["arm"])]
    with matplotlib.rc_context({**STYLE, "axes.grid.axis": "x"}):
        figure = Figure(figsize=(10, 6.5), layout="constrained")
        for axes, (key, title) in zip(figure.subplots(2, 2).flat, COMPARISONS.items(), strict=True):
            rows = summary[(summary["comparison"] == key) & summary["metric"].isin(CHOSEN_BY)]
            for place, arm in enumerate(arms):
                style, of_arm = ARM_STYLES[arm], rows[rows["arm"] == arm].sort_values("fraction")
                looks = (0.14, "none"), (-0.14, style.colour)  # the smaller fraction hollow, all labels filled
                for (shift, face), row in zip(looks, of_arm.itertuples(), strict=True):
                    y = shift - place
                    axes.plot([row.low, row.high], [y, y], color=style.colour, linestyle="-", linewidth=1.6)
                    axes.plot(row.mean, y, style.marker, color=style.colour, markerfacecolor=face)
            best = truth[(truth["comparison"] == key) & (truth["arm"] == "truth")]
            for value in best[best.columns.intersection(CHOSEN_BY)].dropna(axis=1).to_numpy().ravel():
                axes.axvline(value, color="#7d8794", linewidth=1.0, linestyle=":")
            fractions = " and ".join(percent(fraction) for fraction in sorted(rows["fraction"].unique()))
            axes.set_title(f"{title}\n{CHOSEN_BY[rows['metric'].iloc[0]]}, {fractions}", fontsize=9, loc="left")
            axes.set_yticks([-i for i in range(len(arms))], [ARM_STYLES[arm].label for arm in arms], fontsize=8)
        save_figure(figure, path)


def main(out: Path, folder: Path) -> None:
    """Write ``summary.csv``, ``results.csv``, ``truth.csv``, ``arms.png`` and ``truth_*.png``."""
    tables = {name: gather(out, f"{name}.csv") for name in ("summary", "results", "truth")}
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False, float_format="%.5g")
    draw(tables["summary"], tables["truth"], folder / "arms.png")
    for picture in out.glob("*/truth.png"):
        shutil.copyfile(picture, folder / f"truth_{picture.parent.name}.png")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
