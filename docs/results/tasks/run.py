"""Every run behind this page: ``python run.py ARCHIVE OUT``, an hour and a half of one core; a killed run continues.

Fold 9 tests, 8 chooses, the others train. PTB-XL has folds; patients of the synthetic archive are drawn with seed 0.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd

from ssl_ecg import open_archive
from ssl_ecg.archive import Archive
from ssl_ecg.labels import SplitSettings
from ssl_ecg.labels.tables import LabelTable
from ssl_ecg.tasks import read_task

FOLDS = ("split=ptbxl", "split.validation_folds=[8]", "split.test_folds=[9]")
FINETUNED, SCRATCH = "pretrained_finetune", "scratch"
SHARED = (
    f"{FINETUNED}.precision=bf16-mixed",
    f"{SCRATCH}.precision=bf16-mixed",
    f"arms=[random_probe,synthetic_probe,pretrained_probe,{SCRATCH},{FINETUNED},pretrained_blend]",
    "seeds=[0,1,2]",
)
PRETRAINING = (
    "start=synthetic",
    "backbone=xresnet1d18",
    "backbone.width=32",
    "objective.reduction=clocs",
    "precision=bf16-mixed",
)
AUGMENT = "augment: {lead_masking: 0.3, gaussian_noise: 0.1}"
LVEF = (
    "task=cardiomyopathy",
    f"pretrained_candidates=[{{learning_rate: 0.0003}},{{{AUGMENT}, head: zero, layer_decay: 1.0}}]",
    f"scratch_candidates=[{{learning_rate: 0.003}},{{{AUGMENT}}}]",
)
SURVIVAL = (
    "task=af_survival",
    f"{FINETUNED}.steps=500",
    f"{SCRATCH}.steps=500",
    "pretrained_candidates=[{learning_rate: 0.0003},{learning_rate: 0.01, head: zero, layer_decay: 1.0}]",
    "scratch_candidates=[{learning_rate: 0.001},{learning_rate: 0.01}]",
)
COMPARISONS = (
    ("synthetic_af_survival", "[0.25,1]", SURVIVAL),
    ("synthetic_low_lvef", "[0.25,1]", LVEF),
    ("simulated_af_survival", "[0.25,1]", SURVIVAL),
    ("simulated_low_lvef", "[0.25,1]", LVEF),
)
FINETUNE = Path(__file__).parents[3] / "finetune"


def folds(archive: Archive, labels: LabelTable) -> pd.Series:
    """Draw a fold for every record of a label table: 9, 8 or 0."""
    splits = SplitSettings(validation=0.15, test=0.2).split(labels)
    fold = pd.Series(0, index=archive.manifest["record_id"].iloc[labels.rows].to_numpy())
    fold.iloc[splits.validation], fold.iloc[splits.test] = 8, 9
    return fold


def prepare(synthetic: Path, out: Path) -> None:
    """Write the label tables of the synthetic archive with folds."""
    archive = open_archive(synthetic)
    path = synthetic / "labels" / "af_survival.csv"
    fold = folds(archive, read_task("af_survival", path, archive)[0])
    out.mkdir(parents=True, exist_ok=True)
    for name in ("af_survival", "low_lvef"):
        table = pd.read_csv(path.with_name(f"{name}.csv"))
        table = table[table["record_id"].isin(fold.index)]
        table.insert(1, "fold", table["record_id"].map(fold))
        table.to_csv(out / f"synthetic_{name}.csv", index=False)


def main(real: Path, out: Path) -> None:
    """Make the data, pretrain on both archives, compare the arms for every outcome, and hold risks to the truth."""
    synthetic, labels = out / "synthetic", out / "labels"

    def call(*command: object) -> None:
        subprocess.run([sys.executable, *map(str, command)], check=True)

    if not (synthetic / "truth.parquet").exists():
        call("-m", "ssl_ecg", "synthesize", synthetic, "records=3000")
    prepare(synthetic, labels)
    call(FINETUNE / "simulate_outcomes.py", real, labels)
    for name, archive in (("synthetic", synthetic), ("simulated", real)):
        held = (f"holdout={labels / f'{name}_af_survival.csv'}", "task=af_survival", *FOLDS)
        call("-m", "ssl_ecg", "pretrain", archive, out / f"{name}_encoder", *held, *PRETRAINING)
    for name, fractions, options in COMPARISONS:
        source = name.partition("_")[0]
        archive, table = {"synthetic": synthetic, "simulated": real}[source], labels / f"{name}.csv"
        data = (out / f"{source}_encoder", archive, table, out / name)
        call("-m", "ssl_ecg", "compare", *data, f"fractions={fractions}", *FOLDS, *SHARED, *options)
        held = ("--validation-folds", 8, "--test-folds", 9)
        call(FINETUNE / "against_truth.py", out / name, archive, table, *held)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
