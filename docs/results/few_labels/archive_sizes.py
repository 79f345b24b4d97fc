"""What archives of several sizes are worth: ``python archive_sizes.py ARCHIVE OUT``; an hour and a half of one core.

A killed run continues. In each round one fold of PTB-XL tests, one chooses and the others train the probe, as on the
page; CMSC sees so many ECGs of patients who do not test, drawn at random, the smaller archives within the larger, for
as many steps each. ``OUT/sizes.csv`` has a row per size, start and share of the labels.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import ssl_ecg
from ssl_ecg import SplitSettings, open_archive
from ssl_ecg.archive import Archive
from ssl_ecg.labels import read_labels
from ssl_ecg.training import PretrainSettings, pretrain

ROUNDS = {1: 7, 3: 2, 5: 4}  # the fold that tests, and the one that chooses
SIZES = (300, 1000, None)
STARTS = (None, "synthetic")
STEPS, WARMUP, BATCH = 288, 36, 128  # those of 16 epochs of all ECGs
SEEDS, FRACTIONS = tuple(range(5)), (0.01, 0.1, 1.0)
ARMS = ("synthetic_probe", "pretrained_probe")
TOLD = (*ARMS, "pretrained_probe - synthetic_probe")


def left_out(archive: Archive, held: NDArray[np.int64], size: int | None, seed: int) -> NDArray[np.int64]:
    """Return the rows that a pretraining on ``size`` ECGs does not see, those of the patients of ``held`` too."""
    seen = np.flatnonzero(~np.isin(archive.patient, archive.patient[held]))
    patients = np.random.default_rng(seed).permutation(np.unique(archive.patient[seen]))
    records = np.bincount(archive.patient[seen], minlength=archive.patient.max() + 1)[patients]
    few = patients if size is None else patients[: np.searchsorted(records.cumsum(), size) + 1]
    return np.flatnonzero(~np.isin(archive.patient, few))


def settings_of(records: int, start: str | None, seed: int) -> PretrainSettings:
    """Return how to pretrain on so many records for ``STEPS`` steps."""
    steps = max(1, round(records * 0.95 / BATCH))
    epochs = -(-STEPS // steps)
    return PretrainSettings(
        start=start,
        objective={"name": "cmsc", "reduction": "clocs"},
        backbone={"name": "xresnet1d18", "width": 32},
        precision="bf16-mixed",
        batch_size=BATCH,
        epochs=epochs,
        warmup_epochs=-(-WARMUP // steps),
        patience=epochs,
        seed=seed,
    )


def main(folder: Path, out: Path) -> None:
    """Pretrain on each size in each round, probe, and write the table."""
    logging.basicConfig(level=logging.WARNING)
    archive = open_archive(folder)
    table = folder / "labels" / "ptbxl_superdiagnostic.csv"
    labels = read_labels(table, archive)
    rows = []
    for start in STARTS:
        for size in SIZES:
            name, records = f"{start or 'random'}_{size or 'all'}", []
            for test, validation in ROUNDS.items():
                splits = SplitSettings(validation_folds=(validation,), test_folds=(test,)).split(labels)
                hidden = left_out(archive, labels.rows[splits.test], size, seed=test)
                records.append(len(archive) - len(hidden))
                how = settings_of(records[-1], start, seed=test)
                pretrain(archive, out / "encoders" / name / f"fold{test}", how, hidden, False, splits.how)
            asked = {"arms": ARMS, "seeds": SEEDS, "fractions": FRACTIONS, "progress": False}
            summary = ssl_ecg.compare(out / "encoders" / name, archive, table, out / name, **asked)
            found = summary[(summary["metric"] == "macro_auroc") & summary["arm"].isin(TOLD)]
            rows.append(found.assign(start=start or "random weights", size=round(np.mean(records))))
            pd.concat(rows).to_csv(out / "sizes.csv", index=False, float_format="%.4f")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
