"""Every run behind this page, two at a time, an hour on two cores: ``python run.py ARCHIVE OUT``.

A killed run continues where it stopped. Fold 9 tests, 8 chooses, the others train. PTB-XL has folds; patients of the
synthetic archive, and records of CPSC 2018 and of LUDB, which name no patients, are drawn with seed 0.
"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from ssl_ecg import open_archive
from ssl_ecg.archive import Archive
from ssl_ecg.labels import SplitSettings, read_labels
from ssl_ecg.labels.tables import LabelTable
from ssl_ecg.tasks import read_task

FOLDS = ("split=ptbxl", "split.validation_folds=[8]", "split.test_folds=[9]")
FINETUNED, SCRATCH = "pretrained_finetune", "scratch"
SHARED = (f"{FINETUNED}.precision=bf16-mixed", f"{SCRATCH}.precision=bf16-mixed", "replicates=1000")
PRETRAINING = (
    "objective=cmsc",
    "objective.reduction=clocs",
    "backbone=xresnet1d18",
    "backbone.width=32",
    "precision=bf16-mixed",
)
AUGMENT = "augment: {lead_masking: 0.3, gaussian_noise: 0.1}"
LABELS = (
    f"pretrained_candidates=[{{{AUGMENT}}},{{{AUGMENT}, head: zero, layer_decay: 1.0}}]",
    f"scratch_candidates=[{{learning_rate: 0.003}},{{{AUGMENT}}}]",
)
LVEF = (*LABELS, "task=cardiomyopathy")
SURVIVAL = (
    "task=af_survival",
    f"{FINETUNED}.steps=500",
    f"{SCRATCH}.steps=500",
    "pretrained_candidates=[{learning_rate: 0.001},{learning_rate: 0.01, head: zero, layer_decay: 1.0}]",
    "scratch_candidates=[{learning_rate: 0.001},{learning_rate: 0.01}]",
)
# The other rhythms of LUDB have at most 4 records.
LUDB = "classes=[sinus_rhythm,sinus_bradycardia,atrial_fibrillation,sinus_arrhythmia]"
COMPARISONS = (
    ("synthetic_af_survival", "[0.25,1]", *SURVIVAL),
    ("simulated_af_survival", "[0.25,1]", *SURVIVAL),
    ("synthetic_low_lvef", "[0.1,1]", *LVEF),
    ("simulated_low_lvef", "[0.25,1]", *LVEF),
    ("cpsc2018", "[0.5,1]", *LABELS),
    ("ludb_rhythm", "[0.5,1]", *LABELS, LUDB),
    *(
        (f"ptbxl_{task}", "[0.1,1]", *LABELS)
        for task in ("all", "diagnostic", "subdiagnostic", "superdiagnostic", "form", "rhythm")
    ),
)
FINETUNE = Path(__file__).parents[3] / "finetune"


def folds(archive: Archive, labels: LabelTable, validation: float) -> pd.Series:
    """Draw a fold for every record of a label table: 9, 8 or 0."""
    splits = SplitSettings(validation=validation, test=0.2, patients="unknown").split(labels)
    fold = pd.Series(0, index=archive.manifest["record_id"].iloc[labels.rows].to_numpy())
    fold.iloc[splits.validation] = 8
    fold.iloc[splits.test] = 9
    return fold


def with_folds(table: Path, fold: pd.Series) -> pd.DataFrame:
    """Return a label table's records that have a fold, with it."""
    rows = pd.read_csv(table)
    rows = rows[rows["record_id"].isin(fold.index)]
    rows.insert(1, "fold", rows["record_id"].map(fold))
    return rows


def prepare(real: Path, synthetic: Path, out: Path) -> None:
    """Write label tables with folds, and ``hold_out.csv``, the test records of all real ones at once."""
    archive = open_archive(real)
    out.mkdir(parents=True, exist_ok=True)
    tables = {"ptbxl": pd.read_csv(real / "labels" / "ptbxl_all.csv")}
    for name in ("cpsc2018", "ludb_rhythm"):
        path = real / "labels" / f"{name}.csv"
        tables[name] = with_folds(path, folds(archive, read_labels(path, archive), validation=0.2))
        tables[name].to_csv(out / f"{name}.csv", index=False)
    every = pd.concat(
        [table[["record_id", "fold"]].assign(source=name) for name, table in tables.items()], ignore_index=True
    )
    every.join(pd.get_dummies(every.pop("source")).astype(int)).to_csv(out / "hold_out.csv", index=False)

    archive = open_archive(synthetic)
    path = synthetic / "labels" / "af_survival.csv"
    fold = folds(archive, read_task("af_survival", path, archive)[0], validation=0.15)
    for name in ("af_survival", "low_lvef"):
        with_folds(path.with_name(f"{name}.csv"), fold).to_csv(out / f"synthetic_{name}.csv", index=False)


def main(real: Path, out: Path) -> None:
    """Make the data, pretrain on both archives, compare the arms for every task, and hold risks to the truth."""
    synthetic, labels, logs = out / "synthetic", out / "labels", out / "logs"
    truth, simulate = (FINETUNE / f"{name}.py" for name in ("against_truth", "simulate_outcomes"))
    logs.mkdir(parents=True, exist_ok=True)

    def call(log: str, *command: object) -> None:
        with (logs / log).open("a") as file:
            words = [sys.executable, *map(str, command)]
            subprocess.run(words, stdout=file, stderr=file, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})

    def pretrain(name: str, archive: Path, holdout: Path, task: str) -> None:
        data = (archive, out / name, f"holdout={holdout}", f"task={task}", *FOLDS)
        call(name, "-m", "ssl_ecg", "pretrain", *data, *PRETRAINING)

    def compare(name: str, fractions: str, *options: str) -> None:
        archive, encoder = (synthetic, "synthetic_encoder") if name.startswith("synthetic") else (real, "real_encoder")
        table = (archive if name.startswith("ptbxl") else out) / "labels" / f"{name}.csv"
        data = (out / encoder, archive, table, out / name)
        call(name, "-m", "ssl_ecg", "compare", *data, f"fractions={fractions}", *FOLDS, *SHARED, *options)
        if name.startswith(("synthetic", "simulated")):
            call(name, truth, out / name, archive, table, "--validation-folds", 8, "--test-folds", 9)

    if not (synthetic / "truth.parquet").exists():
        call("data", "-m", "ssl_ecg", "synthesize", synthetic, "records=3000")
    prepare(real, synthetic, labels)
    call("data", simulate, real, labels)
    with ThreadPoolExecutor(2) as pool:
        drawn = labels / "synthetic_af_survival.csv"
        pretraining = (
            ("synthetic_encoder", synthetic, drawn, "af_survival"),
            ("real_encoder", real, labels / "hold_out.csv", "arrhythmia"),
        )
        list(pool.map(lambda job: pretrain(*job), pretraining))
        list(pool.map(lambda job: compare(*job), COMPARISONS))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
