"""The tables and the figure of this page, from the runs of ``run.py``: ``python collect.py ARCHIVE OUT FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from run import REFERENCE, SEEDS, SPLIT, SYSTEMS, TASKS

from ssl_ecg import SplitSettings, open_archive
from ssl_ecg.archive import Archive
from ssl_ecg.evaluation import Bootstrap, holm
from ssl_ecg.explain.style import STYLE, save_figure
from ssl_ecg.labels import read_labels
from ssl_ecg.tasks import create_task

METRIC = "macro_auroc"
PROBES = {"random_probe": "random_probe", "synthetic_probe": "simulated_hearts"}
BOOSTED = {"boost_none": "boosted_features", "boost_synthetic": "boosted_deep_features"}


def runs_of(folder: Path, fraction: float) -> dict[str, list[NDArray[np.float32]]]:
    """Return the test scores [n, C] of each system's runs on one task that are there, by name."""
    found = {}
    for arm, name in PROBES.items():
        found[name] = [
            np.load(p) for p in sorted(folder.glob(f"simulated_hearts/runs/{arm}-{fraction:g}-*/test_scores.npy"))
        ]
    for system in SYSTEMS:
        paths = [folder / system / "runs" / f"scratch-{fraction:g}-{seed}" / "test_scores.npy" for seed in SEEDS]
        if (folder / system / "summary.csv").is_file():
            found[system] = [np.load(path) for path in paths]
    if fraction == 1:
        for verb, name in BOOSTED.items():
            table = pd.read_csv(folder / verb / "predictions.csv")
            found[name] = [table.filter(regex="_score$").to_numpy(np.float32)]
    return found


def gather(archive: Archive, out: Path) -> pd.DataFrame:
    """Return one row per task, share of the labels and system: its score, what it is above the reference, intervals."""
    rows = []
    for name, fractions in TASKS.items():
        inside = out / "labels" / f"{name}.csv"
        labels = read_labels(inside if inside.is_file() else archive.folder / "labels" / f"{name}.csv", archive)
        test = SplitSettings(**{key: value for key, value in SPLIT.items() if key != "name"}).split(labels).test
        metrics = create_task("arrhythmia", labels.classes).weighted_metrics
        judge = Bootstrap(labels.targets[test], labels.patient[test], metrics=metrics)
        for fraction in fractions:
            scored = {
                system: [judge.score(scores) for scores in runs]
                for system, runs in runs_of(out / name, fraction).items()
            }
            for system, runs in scored.items():
                own = judge.intervals(runs)[METRIC]
                row = {"task": name, "fraction": fraction, "arm": system, "seeds": len(runs), "metric": METRIC}
                row |= {"mean": own.mean, "low": own.low, "high": own.high}
                if system != REFERENCE:
                    above = judge.differences(runs[: len(SEEDS)], scored[REFERENCE][: len(runs)])[METRIC]
                    row |= {"above": above.mean, "above_low": above.low, "above_high": above.high, "p": above.p_value}
                rows.append(row)
    table = pd.DataFrame(rows)
    table["p_corrected"] = holm(table["p"])
    return table


def draw(table: pd.DataFrame, path: Path) -> None:
    """Draw every system's difference to the reference, a panel per task and share of the labels."""
    panels = list(table.groupby(["task", "fraction"], sort=False))
    order = [name for name in dict.fromkeys(table["arm"]) if name != REFERENCE][::-1]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(14, 0.3 * len(order) + 1.5), layout="constrained")
        for axes, ((task, fraction), rows) in zip(figure.subplots(1, len(panels), sharey=True), panels, strict=True):
            rows = rows[rows["arm"] != REFERENCE]
            at = [order.index(name) for name in rows["arm"]]
            spread = [rows["above"] - rows["above_low"], rows["above_high"] - rows["above"]]
            axes.errorbar(rows["above"], at, xerr=spread, fmt="o", color="#2c6fbb", markersize=4)
            axes.axvline(0, color="#20262e", linewidth=1.0)
            axes.set_title(f"{task.removeprefix('ptbxl_')}, {fraction:.0%}", fontsize="medium")
            axes.set_yticks(range(len(order)), [name.replace("_", " ") for name in order])
        figure.supxlabel(f"macro AUROC above {REFERENCE} from random weights")
        save_figure(figure, path)


def as_text(table: pd.DataFrame) -> str:
    """Return the table of the page, as Markdown: scores, and below them what they are above the reference."""
    columns = list(dict.fromkeys(zip(table["task"], table["fraction"], strict=True)))
    lines = [
        "| system | " + " | ".join(f"{task.removeprefix('ptbxl_')}, {share:.0%}" for task, share in columns) + " |"
    ]
    lines.append("|---" * (len(columns) + 1) + "|")
    for system in dict.fromkeys(table["arm"]):
        rows = table[table["arm"] == system].set_index(["task", "fraction"])
        cells = []
        for column in columns:
            if column not in rows.index:
                cells.append("")
                continue
            row = rows.loc[column]
            above = (
                f" ({row.above:+.3f}, {row.above_low:+.3f} to {row.above_high:+.3f})" if np.isfinite(row.above) else ""
            )
            bold = "**" if row.p_corrected < 0.05 else ""
            cells.append(f"{bold}{row['mean']:.3f}{above}{bold}".replace("0.", "."))
        lines.append(f"| {system.replace('_', ' ')} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(archive: Path, out: Path, folder: Path) -> None:
    """Write ``summary.csv``, ``few_shots.csv`` and ``systems.png``, and print the table."""
    table = gather(open_archive(archive), out)
    table.to_csv(folder / "summary.csv", index=False, float_format="%.5g")
    shots = [pd.read_csv(out / name / "few_shots" / "few_shots.csv").assign(task=name) for name in TASKS]
    pd.concat(shots, ignore_index=True).to_csv(folder / "few_shots.csv", index=False, float_format="%.5g")
    draw(table, folder / "systems.png")
    print(as_text(table))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
