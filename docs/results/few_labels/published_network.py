"""The field's supervised reference: ``python published_network.py ARCHIVE COMPARISON OUT``; an hour or two.

xresnet1d101 as published for PTB-XL (Strodthoff et al. 2021), network, head and training, from random weights in the
three rounds of this page, beside arms of its comparison. ``OUT/published.csv`` has its scores, and what the others
score above it.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import numpy as np
import pandas as pd

import ssl_ecg
from ssl_ecg import SplitSettings, open_archive
from ssl_ecg.backbones import Encoder
from ssl_ecg.evaluation import holm
from ssl_ecg.evaluation.intervals import Bootstrap
from ssl_ecg.evaluation.rotation import Rotation
from ssl_ecg.labels import read_labels

ROUNDS = {1: 7, 3: 2, 5: 4}  # the fold that tests, and the one that chooses
NAME = "xresnet1d101_ptbxl"
SEEDS = {0.01: (0, 1, 2), 0.1: (0, 1, 2), 1.0: (0,)}  # the draws of labels of the page; of all labels there is one
ARMS = ("synthetic_zero_shot", "synthetic_prior_probe", "scratch", "scratch_blend", "pretrained_blend")


def main(folder: Path, comparison: Path, out: Path) -> None:
    """Train it, and lay the arms beside it."""
    logging.basicConfig(level=logging.WARNING)
    archive = open_archive(folder)
    table = folder / "labels" / "ptbxl_superdiagnostic.csv"
    labels = read_labels(table, archive)
    splits = [SplitSettings(validation_folds=(v,), test_folds=(t,)).split(labels) for t, v in ROUNDS.items()]
    networks = [Encoder(NAME, {}, archive.settings, {"split": split.how}) for split in splits]
    training = {"name": NAME, "precision": "bf16-mixed"}
    drawn = Rotation([Bootstrap(labels.targets[s.test], labels.patient[s.test]) for s in splits])
    rows = []
    for fraction, seeds in SEEDS.items():
        runs = out / f"{fraction:g}"
        ssl_ecg.compare(
            networks,
            archive,
            table,
            runs,
            arms=("scratch",),
            fractions=(fraction,),
            seeds=seeds,
            scratch=training,
            pretrained_finetune=training,
            scratch_candidates=({},),
            pretrained_candidates=({},),
            progress=False,
        )

        def replicates(where: Path, arm: str, fraction: float = fraction, seeds: tuple[int, ...] = seeds) -> list:
            names = [[f"{arm}-{fraction:g}-{seed}-round{n}" for n in range(1, len(splits) + 1)] for seed in seeds]
            return [
                drawn.score([np.load(where / "runs" / name / "test_scores.npy") for name in each]) for each in names
            ]

        own = replicates(runs, "scratch")
        told = drawn.intervals(own)["macro_auroc"]
        rows.append((NAME, fraction, *told[:3], np.nan))
        for arm in ARMS:
            other = replicates(comparison, arm)
            gain = drawn.differences(other, own)["macro_auroc"]
            rows.append((f"{arm} - {NAME}", fraction, *gain[:4]))
        found = pd.DataFrame(rows, columns=["arm", "fraction", "mean", "low", "high", "p_value"])
        judged = found["p_value"].notna()
        found.loc[judged, "holm"] = holm(found.loc[judged, "p_value"])
        found.to_csv(out / "published.csv", index=False, float_format="%.4g")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
