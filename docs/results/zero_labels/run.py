"""What a probe that saw no label tells on real ECGs: ``python run.py ARCHIVE OUT [ENCODERS]``; minutes of one core.

ENCODERS holds ``fold1``, ``fold3`` and ``fold5``, pretrained for docs/results/few_labels on ECGs of patients outside
that fold. ``OUT/summary.csv`` has every number of the page; its tables are printed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ssl_ecg import SplitSettings, load_encoder, open_archive
from ssl_ecg.archive import Archive
from ssl_ecg.backbones import Encoder
from ssl_ecg.comparison.arms import random_encoder
from ssl_ecg.evaluation import Bootstrap, Rotation, undefined_classes
from ssl_ecg.evaluation.support import ENOUGH
from ssl_ecg.explain.style import BLUE, INK, STYLE, save_figure
from ssl_ecg.labels import LabelTable
from ssl_ecg.synthetic.simulator import meanings_of
from ssl_ecg.synthetic.simulator.conditions import AGES, AXES
from ssl_ecg.tasks import Task, read_task
from ssl_ecg.tasks.simulated_probe import probe_without_labels
from ssl_ecg.training.frozen import extract_features

SUPERCLASSES, STATEMENTS = "ptbxl_superdiagnostic", "ptbxl_all"
PTBXL = tuple(f"ptbxl_{name}" for name in ("superdiagnostic", "subdiagnostic", "diagnostic", "form", "rhythm", "all"))
TASKS = (*PTBXL, "cpsc2018", "ludb_rhythm")
FOLDS = {"fold1": 1, "fold3": 3, "fold5": 5}
SEEDS = range(3)
LUDB = ("sinus_rhythm", "sinus_bradycardia", "atrial_fibrillation", "sinus_arrhythmia")  # those of few_labels
FEW_LABELS = Path(__file__).parents[1] / "few_labels"
SAME, EVERY = "those that test in few_labels", "all"

GROUPS = {
    "Rhythm": ("rhythm", "ectopy"),
    "Conduction": ("av_conduction", "conduction", "fascicles"),
    "Infarction": ("infarction",),
    "Chambers and voltage": ("ventricles", "atria", "voltage"),
    "ST segment and T wave": ("repolarisation",),
}
GROUP_OF = {name: group for group, axes in GROUPS.items() for axis in axes for name in AXES[axis]}
GROUP_OF |= {**dict.fromkeys(AGES, "Infarction"), "sinus_rhythm": "Rhythm"}

Floats = NDArray[np.float64]


def scores_of(task: Task, encoder: Encoder, archive: Archive, labels: LabelTable) -> Floats:
    """Return the scores [n, C] of all records of a table by a probe that saw none of their labels."""
    probe = probe_without_labels(task, encoder, meanings_of(task.classes))
    return probe.scores(extract_features(encoder, archive, labels.rows))


def tested(name: str, labels: LabelTable) -> list[NDArray[np.int64]]:
    """Return the rows of the table that test on the page of few labels, one array per round."""
    if name == SUPERCLASSES:
        return [np.flatnonzero(labels.fold == fold) for fold in FOLDS.values()]
    if name in PTBXL:
        return [np.flatnonzero(labels.fold == 9)]
    return [SplitSettings(validation=0.2, test=0.2, patients="unknown").split(labels).test]


def macro(labels: LabelTable, runs: Sequence[Floats], rounds: Sequence[Any], classes: Sequence[int]) -> list[dict]:
    """Return a row per macro average over some classes; runs have scores [n, C], rounds say which rows test."""
    targets = labels.targets[:, classes]
    parts = [Bootstrap(targets[test], labels.patient[test], seed=number) for number, test in enumerate(rounds)]
    judge = Rotation(parts)
    found = judge.intervals([judge.score([run[test][:, classes] for test in rounds]) for run in runs])
    return [{"metric": metric, "seeds": len(runs), **value._asdict()} for metric, value in found.items()]


def each(labels: LabelTable, scores: Floats) -> list[dict]:
    """Return two rows per class that has both outcomes; where patients are few, without an interval."""
    meanings, rows = meanings_of(labels.classes), []
    for c in np.flatnonzero(~undefined_classes(labels.targets)):
        judge = Bootstrap(labels.targets[:, [c]], labels.patient)
        about = {"class": labels.classes[c], "meaning": " ".join(meanings.get(labels.classes[c], ()))}
        about |= {"prevalence": np.nanmean(labels.targets[:, c]), "seeds": 1}
        for metric, value in judge.intervals([judge.score(scores[:, [c]])]).items():
            if min(value.positives, value.negatives) < ENOUGH:
                value = value._replace(low=np.nan, high=np.nan)
            rows.append({**about, "metric": metric.removeprefix("macro_"), **value._asdict()})
    return rows


def of_task(name: str, archive: Archive, encoder: Encoder) -> pd.DataFrame:
    """Return the rows of one label table."""
    labels, task = read_task("arrhythmia", archive.folder / "labels" / f"{name}.csv", archive)
    scores, meanings = scores_of(task, encoder, archive, labels), meanings_of(task.classes)
    known = [c for c, one in enumerate(task.classes) if one in meanings]
    compared = [c for c, one in enumerate(task.classes) if name != "ludb_rhythm" or one in LUDB]
    every = [np.arange(len(labels))]
    rows = [{"records": EVERY, **row} for row in each(labels, scores)]
    for records, rounds, classes, said in (
        (EVERY, every, known, "those with a meaning"),
        (EVERY, every, range(len(task.classes)), "all"),
        (SAME, tested(name, labels), compared, "all"),
    ):
        found = macro(labels, [scores], rounds, list(classes))
        rows += [{"records": records, "class": said, **row} for row in found]
    return pd.DataFrame(rows).assign(task=name, arm="zero_labels")


def of_others(archive: Archive, encoder: Encoder, encoders: Path | None) -> pd.DataFrame:
    """Return the macro averages of superclasses by the same probe on other encoders."""
    labels, task = read_task("arrhythmia", archive.folder / "labels" / f"{SUPERCLASSES}.csv", archive)
    rounds, classes, rows = tested(SUPERCLASSES, labels), list(range(len(task.classes))), []
    runs = [scores_of(task, random_encoder(encoder, seed), archive, labels) for seed in SEEDS]
    for records, some in ((EVERY, [np.arange(len(labels))]), (SAME, rounds)):
        found = macro(labels, runs, some, classes)
        rows += [{"arm": "zero_labels, random weights", "records": records, **row} for row in found]
    if encoders is not None:
        scores = np.full(labels.targets.shape, np.nan)
        for fold, test in zip(FOLDS, rounds, strict=True):  # every patient only by the encoder that did not see it
            scores[test] = scores_of(task, load_encoder(encoders / fold), archive, labels)[test]
        found = macro(labels, [scores], rounds, classes)
        rows += [{"arm": "zero_labels, CMSC from synthetic", "records": SAME, **row} for row in found]
    return pd.DataFrame(rows).assign(task=SUPERCLASSES, **{"class": "all"})


def draw(table: pd.DataFrame, path: Path) -> None:
    """Draw the AUROC of each class that has a meaning and enough patients, by what it means."""
    rows = table[(table["metric"] == "auroc") & table["low"].notna() & table["meaning"].ne("")].copy()
    titles = {SUPERCLASSES: "PTB-XL, superclasses", "cpsc2018": "CPSC 2018", "ludb_rhythm": "LUDB"}
    statements = rows["task"].eq(STATEMENTS)
    rows["group"] = rows["task"].map(titles).where(~statements, rows["meaning"].str.split().str[0].map(GROUP_OF))
    order = [titles[SUPERCLASSES], *GROUPS, titles["cpsc2018"], titles["ludb_rhythm"]]
    panels = [rows[rows["group"] == group].sort_values("mean") for group in order]
    heights = [len(panel) + 1.2 for panel in panels]
    with matplotlib.rc_context({**STYLE, "axes.grid.axis": "x", "font.size": 9}):
        figure = Figure(figsize=(4.6, 0.185 * sum(heights)), layout="constrained")
        for axes, panel, group in zip(
            figure.subplots(len(order), 1, sharex=True, height_ratios=heights), panels, order, strict=True
        ):
            at = np.arange(len(panel))
            spread = [panel["mean"] - panel["low"], panel["high"] - panel["mean"]]
            axes.errorbar(panel["mean"], at, xerr=spread, fmt="o", color=BLUE, markersize=4, linewidth=1.4)
            axes.axvline(0.5, color=INK, linewidth=1.0)
            names = (
                panel["class"].str.replace(r"_(?=[a-z])", " ", regex=True) + " (" + panel["positives"].astype(str) + ")"
            )
            axes.set_yticks(at, names)
            axes.set_ylim(-0.6, len(panel) - 0.4)
            axes.set_title(group, fontsize=9.5, pad=2)
        axes.set_xlabel("AUROC without a label (patients with it)")
        save_figure(figure, path)


def as_text(table: pd.DataFrame) -> str:
    """Return the tables of the page, as Markdown."""
    auroc = table[table["metric"].isin(("auroc", "macro_auroc"))]
    lines = []
    for name in TASKS:
        here = auroc[(auroc["task"] == name) & (auroc["arm"] == "zero_labels")]
        own = here[here["metric"] == "auroc"]
        counts = f"{own['meaning'].ne('').sum()} of {len(own)}"
        cells = [_cell(row) for _, row in here[here["metric"] == "macro_auroc"].iterrows()]
        lines.append(f"| {name} | {counts} | " + " | ".join([*cells, _scratch(name)]) + " |")
    others = auroc[auroc["arm"] != "zero_labels"]
    lines += [f"| {row['arm']}, {row['records']} | {_cell(row)} |" for _, row in others.iterrows()]
    own = auroc[(auroc["metric"] == "auroc") & auroc["meaning"].ne("")].sort_values("mean", ascending=False)
    precision = table[table["metric"] == "auprc"].set_index(["task", "class"])
    for _, row in own.iterrows():
        other = precision.loc[(row["task"], row["class"])]
        lines.append(
            f"| {row['task']} | {row['class']} | {row['positives']} | {_cell(row)} | {_cell(other)} | "
            f"{row['prevalence']:.3f} |".replace("0.", ".")
        )
    return "\n".join(lines)


def _cell(row: pd.Series) -> str:
    ends = f" ({row['low']:.3f} to {row['high']:.3f})" if np.isfinite(row["low"]) else ""
    return f"{row['mean']:.3f}{ends}".replace("0.", ".")


def _scratch(name: str) -> str:
    """Return what a network from scratch has that chose among four settings, by its share of the labels."""
    rows = pd.read_csv(FEW_LABELS / ("summary.csv" if name == SUPERCLASSES else "other_tasks.csv"))
    rows = rows[(rows["metric"] == "macro_auroc") & (rows["arm"] == "scratch")]
    rows = rows[rows["task"] == ("arrhythmia" if name == SUPERCLASSES else name)]
    return ", ".join(f"{row['mean']:.3f} at {row['fraction']:.0%}".replace("0.", ".", 1) for _, row in rows.iterrows())


def main(folder: Path, out: Path, encoders: Path | None = None) -> None:
    """Score every label table; write ``summary.csv`` and ``zero_labels.png``, and print the tables."""
    archive, encoder = open_archive(folder), load_encoder("synthetic")
    parts = [of_task(name, archive, encoder) for name in TASKS]
    table = pd.concat([*parts, of_others(archive, encoder, encoders)], ignore_index=True).assign(fraction=0)
    table["meaning"] = table["meaning"].fillna("")
    first = ["task", "records", "arm", "fraction", "seeds", "metric", "class", "mean", "low", "high"]
    table = table[[*first, "positives", "negatives", "prevalence", "meaning"]]
    out.mkdir(parents=True, exist_ok=True)
    table.to_csv(out / "summary.csv", index=False, float_format="%.5g")
    draw(table, out / "zero_labels.png")
    print(as_text(table))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
