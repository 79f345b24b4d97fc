"""The other tasks of the page, one run at a time: ``python other_tasks.py ARCHIVE OUT``; an hour or two of one core.

A killed run continues. Fold 9 of PTB-XL tests, 8 chooses, the others train; records of CPSC 2018 and LUDB, which name
no patients, are drawn.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd

from ssl_ecg import SplitSettings, open_archive
from ssl_ecg.archive import Archive
from ssl_ecg.labels import read_labels

FOLDS = ("split=ptbxl", "split.validation_folds=[8]", "split.test_folds=[9]")
ARMS = ("random_probe", "synthetic_zero_shot", "synthetic_probe", "synthetic_prior_probe", "pretrained_probe")
ARMS = (*ARMS, "pretrained_prior_probe", "scratch", "scratch_blend", "pretrained_finetune", "pretrained_blend")
AUGMENT = "augment: {lead_masking: 0.3, gaussian_noise: 0.1}"
LOW, HIGH = "learning_rate: 0.001", "learning_rate: 0.003"
SCRATCH = f"[{{{LOW}}},{{{HIGH}}},{{{LOW}, {AUGMENT}}},{{{HIGH}, {AUGMENT}}}]"
ZERO = f"{AUGMENT}, head: zero, layer_decay: 1.0"
PRETRAINED = f"[{{learning_rate: 0.0003}},{{{LOW}, {ZERO}}},{{{LOW}, {AUGMENT}}},{{{HIGH}, {ZERO}}}]"
SETTINGS = (f"arms=[{','.join(ARMS)}]", "seeds=[0,1,2]")
SETTINGS = (*SETTINGS, f"scratch_candidates={SCRATCH}", f"pretrained_candidates={PRETRAINED}")
SETTINGS = (*SETTINGS, "scratch.precision=bf16-mixed", "pretrained_finetune.precision=bf16-mixed")
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


def main(folder: Path, out: Path) -> None:
    """Pretrain, compare every task, and write every arm's score and difference into ``other_tasks.csv``."""
    archive, encoder, scores = open_archive(folder), out / "encoder", []
    tables = prepare(archive, out / "labels")
    call("pretrain", folder, encoder, f"holdout={out / 'labels' / 'hold_out.csv'}", *FOLDS, *PRETRAINING)
    for name, table in tables.items():
        options = [f"classes=[{','.join(LUDB)}]"] if name == "ludb_rhythm" else []
        options += [f"fractions={list(TASKS[name])}", *FOLDS, *SETTINGS]
        call("compare", encoder, folder, table, out / name, *options)
        scores.append(pd.read_csv(out / name / "summary.csv").assign(task=name))
    summary = pd.concat(scores, ignore_index=True)
    summary[summary["metric"] == "macro_auroc"].to_csv(out / "other_tasks.csv", index=False, float_format="%.5g")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
