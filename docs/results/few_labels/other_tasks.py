"""The other tasks of the page, one run at a time: ``python other_tasks.py ARCHIVE OUT``; some two hours of one core.

A killed run continues. Fold 9 of PTB-XL tests, 8 chooses, the others train; records of CPSC 2018 and LUDB, which name
no patients, are drawn. The baseline is trained once more with twice as many settings to choose from.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from ssl_ecg import SplitSettings, open_archive
from ssl_ecg.archive import Archive
from ssl_ecg.evaluation import Bootstrap
from ssl_ecg.labels import read_labels
from ssl_ecg.tasks import read_task

FOLDS = ("split=ptbxl", "split.validation_folds=[8]", "split.test_folds=[9]")
BF16 = ("pretrained_finetune.precision=bf16-mixed", "scratch.precision=bf16-mixed")
ARMS = ("random_probe", "synthetic_probe", "pretrained_probe", "scratch", "scratch_ensemble")
ARMS = (*ARMS, "pretrained_finetune", "pretrained_blend")
AUGMENT = "augment: {lead_masking: 0.3, gaussian_noise: 0.1}"
LOW, HIGH = "learning_rate: 0.001", "learning_rate: 0.003"
PRETRAINED = f"[{{learning_rate: 0.0003}},{{{LOW}, {AUGMENT}, head: zero, layer_decay: 1.0}}]"
SCRATCH = f"[{{{LOW}}},{{{LOW}, {AUGMENT}}}]"
MORE = f"[{{{LOW}}},{{{HIGH}}},{{{LOW}, {AUGMENT}}},{{{HIGH}, {AUGMENT}}}]"
PRETRAINING = ("objective=cmsc", "start=synthetic", "objective.reduction=clocs", "precision=bf16-mixed")
PRETRAINING = (*PRETRAINING, "backbone=xresnet1d18", "backbone.width=32")
# The other rhythms of LUDB have at most 4 records.
LUDB = ("sinus_rhythm", "sinus_bradycardia", "atrial_fibrillation", "sinus_arrhythmia")
TASKS = {"cpsc2018": (0.5, 1.0), "ludb_rhythm": (0.5, 1.0)}
TASKS |= dict.fromkeys(
    (f"ptbxl_{name}" for name in ("rhythm", "form", "subdiagnostic", "diagnostic", "all")), (0.1, 1.0)
)


def drawn(archive: Archive, path: Path) -> pd.DataFrame:
    """Return a label table with a fold for each record: 9, 8 or 0."""
    labels = read_labels(path, archive)
    splits = SplitSettings(validation=0.2, test=0.2, patients="unknown").split(labels)
    fold = pd.Series(0, index=archive.manifest["record_id"].astype(object).iloc[labels.rows].to_numpy())
    fold.iloc[splits.validation], fold.iloc[splits.test] = 8, 9
    table = pd.read_csv(path)
    table = table[table["record_id"].isin(fold.index)]
    table.insert(1, "fold", table["record_id"].map(fold))
    return table


def prepare(archive: Archive, out: Path) -> dict[str, Path]:
    """Write label tables with folds, and one of all records that test; return the tables."""
    out.mkdir(parents=True, exist_ok=True)
    tables = {name: archive.folder / "labels" / f"{name}.csv" for name in TASKS}
    held = [pd.read_csv(tables["ptbxl_all"])[["record_id", "fold"]].assign(ptbxl=1)]
    for name in ("cpsc2018", "ludb_rhythm"):
        table = drawn(archive, tables[name])
        tables[name] = out / f"{name}.csv"
        table.to_csv(tables[name], index=False)
        held.append(table[["record_id", "fold"]].assign(**{name: 1}))
    pd.concat(held, ignore_index=True).fillna(0).to_csv(out / "hold_out.csv", index=False)
    return tables


def call(*words: object) -> None:
    """Run a command of the package."""
    subprocess.run([sys.executable, "-m", "ssl_ecg", *map(str, words)], check=True, stdout=subprocess.DEVNULL)


def compare(paths: tuple[Path, Path, Path, Path], arms: tuple[str, ...], scratch: str, pre: str) -> None:
    """Compare arms on one task; paths are those of the verb."""
    table = paths[2]
    options = [f"fractions={list(TASKS[table.stem])}", f"arms=[{','.join(arms)}]", "seeds=[0,1,2]"]
    options += [f"scratch_candidates={scratch}", f"pretrained_candidates={pre}", *FOLDS, *BF16]
    options += [f"classes=[{','.join(LUDB)}]"] if table.stem == "ludb_rhythm" else []
    call("compare", *paths, *options)


def against_more(archive: Archive, table: Path, runs: Path, more: Path) -> list[str]:
    """Return the baseline with four settings, and arms against it, one row of Markdown per share of the labels."""
    labels, task = read_task("arrhythmia", table, archive, LUDB if table.stem == "ludb_rhythm" else None)
    test = SplitSettings(validation_folds=(8,), test_folds=(9,)).split(labels).test
    judge = Bootstrap(labels.targets[test], labels.patient[test], metrics=task.weighted_metrics)
    rows = []
    for fraction in TASKS[table.stem]:

        def scored(folder: Path, arm: str, fraction: float = fraction) -> list[dict[str, np.ndarray]]:
            files = (folder / "runs" / f"{arm}-{fraction:g}-{seed}" / "test_scores.npy" for seed in range(3))
            return [judge.score(np.load(file)) for file in files]

        scratch = scored(more, "scratch")
        found = judge.intervals(scratch)["macro_auroc"]
        cells = [f"{found.mean:.3f} ({found.low:.3f} to {found.high:.3f})"]
        for arm in ("synthetic_probe", "pretrained_finetune", "pretrained_blend"):
            lost = judge.differences(scored(runs, arm), scratch)["macro_auroc"]
            cells.append(f"{lost.mean:+.3f} ({lost.low:+.3f} to {lost.high:+.3f}, p {lost.p_value:.2g})")
        rows.append(f"| {table.stem} | {fraction:.0%} | " + " | ".join(cells) + " |")
    return rows


def main(folder: Path, out: Path) -> None:
    """Pretrain, compare, and print every arm's score and what it is against the better-tuned baseline."""
    archive, encoder = open_archive(folder), out / "encoder"
    tables = prepare(archive, out / "labels")
    call("pretrain", folder, encoder, f"holdout={out / 'labels' / 'hold_out.csv'}", *FOLDS, *PRETRAINING)
    scores, rows = [], []
    for name, table in tables.items():
        compare((encoder, folder, table, out / name), ARMS, SCRATCH, PRETRAINED)
        compare((encoder, folder, table, out / "more" / name), ("scratch",), MORE, MORE)
        scores.append(pd.read_csv(out / name / "summary.csv").assign(task=name))
        rows += against_more(archive, table, out / name, out / "more" / name)
    summary = pd.concat(scores, ignore_index=True)
    summary[summary["metric"] == "macro_auroc"].to_csv(out / "other_tasks.csv", index=False, float_format="%.5g")
    sys.stdout.write("\n".join(rows) + "\n")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
