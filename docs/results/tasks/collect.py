"""The tables and the figure of this page, from the runs of ``run.py``: ``python collect.py OUT FOLDER``."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ssl_ecg.evaluation import AUROC, C_INDEX, MACRO_AUROC
from ssl_ecg.explain.style import STYLE, save_figure
from ssl_ecg.report.figures import ARM_STYLES, percent

COMPARISONS = {
    "ptbxl_all": "PTB-XL, all statements",
    "ptbxl_diagnostic": "PTB-XL, diagnostic",
    "ptbxl_subdiagnostic": "PTB-XL, subclasses",
    "ptbxl_form": "PTB-XL, form",
    "ptbxl_rhythm": "PTB-XL, rhythm",
    "cpsc2018": "CPSC 2018",
    "ludb_rhythm": "LUDB, rhythm",
    "synthetic_af_survival": "AF-free survival, synthetic ECGs",
    "simulated_af_survival": "AF-free survival, simulated for PTB-XL",
    "synthetic_low_lvef": "Low LVEF, synthetic ECGs",
    "simulated_low_lvef": "Low LVEF, simulated for PTB-XL",
}
ARMS = {
    "random_probe": "random, probe",
    "synthetic_probe": "simulated, probe",
    "pretrained_probe": "pretrained, probe",
    "scratch": "scratch",
    "scratch_ensemble": "two from scratch",
    "pretrained_finetune": "finetuned",
    "pretrained_blend": "probe and finetuned",
}
CHOSEN_BY = {metric.name: metric.label for metric in (MACRO_AUROC, C_INDEX, AUROC)}


def gather(out: Path, name: str) -> pd.DataFrame:
    """Return one table of all comparisons, with a column ``comparison``."""
    tables = {key: pd.read_csv(out / key / name) for key in COMPARISONS if (out / key / name).is_file()}
    return pd.concat(tables, names=["comparison"]).reset_index(level=0).reset_index(drop=True)


def draw(summary: pd.DataFrame, truth: pd.DataFrame, path: Path) -> None:
    """Draw every arm's score with its interval, a panel a comparison; a line where the true risk itself would score."""
    with matplotlib.rc_context({**STYLE, "axes.grid.axis": "x"}):
        figure = Figure(figsize=(11, 13), layout="constrained")
        grid = figure.subplots(4, 3).ravel()
        grid[len(COMPARISONS)].set_axis_off()
        for axes, (key, title) in zip(grid, COMPARISONS.items()):
            rows = summary[(summary["comparison"] == key) & summary["metric"].isin(CHOSEN_BY)]
            for place, arm in enumerate(ARMS):
                style = ARM_STYLES[arm]
                of_arm = rows[rows["arm"] == arm].sort_values("fraction")
                looks = (0.14, "none"), (-0.14, style.colour)  # the smaller fraction hollow, all labels filled
                for (shift, face), row in zip(looks, of_arm.itertuples()):
                    y = shift - place
                    axes.plot([row.low, row.high], [y, y], color=style.colour, linestyle="-", linewidth=1.6)
                    axes.plot(row.mean, y, style.marker, color=style.colour, markerfacecolor=face)
            best = truth[(truth["comparison"] == key) & (truth["arm"] == "truth")]
            for value in best[best.columns.intersection(CHOSEN_BY)].dropna(axis=1).to_numpy().ravel():
                axes.axvline(value, color="#7d8794", linewidth=1.0, linestyle=":")
            fractions = " and ".join(percent(fraction) for fraction in sorted(rows["fraction"].unique()))
            axes.set_title(f"{title}\n{CHOSEN_BY[rows['metric'].iloc[0]]}, {fractions}", fontsize=9, loc="left")
            axes.set_yticks([-place for place in range(len(ARMS))], list(ARMS.values()))
        save_figure(figure, path)


DIFFERENCES = {
    "synthetic_probe - random_probe": "simulated - random, probe",
    "pretrained_finetune - scratch": "finetuned - scratch",
    "pretrained_blend - scratch": "probe and finetuned - scratch",
    "pretrained_blend - scratch_ensemble": "probe and finetuned - two from scratch",
}


def page(summary: pd.DataFrame) -> str:
    """Return both tables of the page."""
    of_choice = summary[summary["metric"].isin(CHOSEN_BY)].set_index(["comparison", "fraction", "arm"])
    parts = []
    for names, signed in ((ARMS, ""), (DIFFERENCES, "+")):
        lines = ["| comparison | labels | " + " | ".join(names.values()) + " |", "|---|---|" + "---|" * len(names)]
        for key, fraction in dict.fromkeys(index[:2] for index in of_choice.index):
            cells = []
            for arm in names:
                if (key, fraction, arm) not in of_choice.index:
                    cells.append("–")
                    continue
                row = of_choice.loc[(key, fraction, arm)]
                cell = f"{row['mean']:{signed}.3f} ({row['low']:{signed}.3f} to {row['high']:{signed}.3f})"
                if signed:
                    p = row["p_value"]
                    clear = p < 0.05 and row["low"] * row["high"] > 0
                    cell += ", too few to judge" if np.isnan(p) else f", p {p:.2g}"
                    cell = f"**{cell}**" if clear else cell
                cells.append(cell)
            lines.append(f"| {COMPARISONS[key]} | {percent(fraction)} | " + " | ".join(cells) + " |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def main(out: Path, folder: Path) -> None:
    """Write the tables, ``arms.png`` and ``truth_*.png`` into a folder, and print the tables of its page."""
    tables = {name: gather(out, f"{name}.csv") for name in ("summary", "results", "per_class", "truth")}
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False, float_format="%.5g")
    sys.stdout.write(page(tables["summary"]))
    draw(tables["summary"], tables["truth"], folder / "arms.png")
    for picture in out.glob("*/truth.png"):
        shutil.copyfile(picture, folder / f"truth_{picture.parent.name}.png")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
