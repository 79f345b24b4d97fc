"""A fifth of the labels turned over: what label correction wins, and finds. ``python run.py OUT``; some ten minutes.

2,000 synthetic ECGs; in training and validation every label is turned over with a probability of .2, in testing none.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

import ssl_ecg
from ssl_ecg.labels import SplitSettings, read_labels
from ssl_ecg.tasks.label_correction import corrected_labels
from ssl_ecg.training.frozen import model_features

CLASSES = ("sinus_bradycardia", "atrial_fibrillation", "left_bundle_branch_block", "first_degree_av_block")
NETWORK = {"name": "xresnet1d10", "width": 16}
TRAINING = {"steps": 400, "evaluations": 10, "head": "zero", "layer_decay": 1.0, "crop": None}
FOLDS = {"validation_folds": (8,), "test_folds": (9,)}


def main(out: Path) -> None:
    """Print one row per seed and weight of corrected labels."""
    folder = out / "archive"
    archive = ssl_ecg.open_archive(folder) if folder.exists() else ssl_ecg.synthesize(folder, records=2000)
    path = folder / "labels" / "conditions.csv"
    table = pd.read_csv(path)[["record_id", *CLASSES]]
    splits = SplitSettings(test=0.3, validation=0.15).split(read_labels(path, archive, CLASSES))
    fold = np.zeros(len(table), dtype=int)
    fold[splits.validation], fold[splits.test] = 8, 9
    table.insert(1, "fold", fold)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        turned = (rng.random((len(table), len(CLASSES))) < 0.2) & (fold != 9)[:, None]
        noisy = table.copy()
        noisy[list(CLASSES)] = np.where(turned, 1 - table[list(CLASSES)], table[list(CLASSES)])
        for weight in (0.0, 0.5):
            training = {**TRAINING, "label_correction": weight, "seed": seed}
            there = out / f"{weight}-{seed}"
            options = {"classes": CLASSES, "backbone": NETWORK, "training": training, "split": FOLDS}
            fitted = ssl_ecg.finetune(None, archive, noisy, there, progress=False, **options)
            train = np.flatnonzero(fold == 0)
            rows = archive.rows(noisy["record_id"].iloc[train])
            given, wrong = noisy[list(CLASSES)].to_numpy(np.float32)[train], turned[train]
            changed = corrected_labels(model_features(fitted.model, archive, rows), given, seed) != given
            found, precise = changed[wrong].mean(), wrong[changed].mean()
            score = fitted.metrics["macro_auroc"]
            print(
                f"weight {weight} seed {seed}: AUROC {score:.3f}, found {found:.0%}, precision {precise:.0%}",
                flush=True,
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
