"""What pretraining on single leads is worth: ``python run.py ARCHIVE OUT``; some 40 minutes of one core.

A killed run goes on from the pretrainings that are finished. Rounds and labels are those of ``../few_labels``. Each of
two one-lead networks learns by each of three objectives, and a linear probe reads it in three ways: on the features of
the leads averaged; on those of the leads side by side; and as CLOCS evaluates, on each lead as a record of its own with
the labels of its ECG. ``OUT/summary.csv`` has a row per network, objective, read-out and share of the labels.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ssl_ecg import SplitSettings, open_archive
from ssl_ecg.archive import Archive
from ssl_ecg.backbones import Encoder, load_encoder
from ssl_ecg.comparison.arms import random_encoder, run_probe
from ssl_ecg.evaluation import holm
from ssl_ecg.evaluation.intervals import Bootstrap
from ssl_ecg.evaluation.rotation import Rotation
from ssl_ecg.labels import LabelTable, read_labels
from ssl_ecg.labels.splits import Splits, nested_fractions
from ssl_ecg.tasks import create_task
from ssl_ecg.training import PretrainSettings, pretrain
from ssl_ecg.training.frozen import extract_features

ROUNDS = {1: 7, 3: 2, 5: 4}  # the fold that tests, and the one that chooses
NETWORKS = {"xresnet1d10": {"single": "xresnet1d10", "width": 8}, "clocs": {"single": "clocs", "width": 128}}
RANDOM = "random weights"
OBJECTIVES = {name: {"name": name, "augment": {}} for name in ("cmsc", "cmlc", "cmsmlc")}
OBJECTIVES["cmsc"]["leads"] = "single"
TRAINING = {"batch_size": 64, "epochs": 20, "patience": 20, "precision": "bf16-mixed"}
READ_OUTS = ("mean", "concat", "leads")
SEEDS, FRACTIONS = range(5), (0.01, 0.1, 1.0)

Features = NDArray[np.float32]


def pretrained(network: str, objective: str, archive: Archive, held: NDArray, test: int, out: Path) -> Encoder:
    """Return a network of single leads after pretraining without the patients of records ``held``."""
    folder = out / "encoders" / f"{network}-{objective}-{test}"
    backbone = {"name": "lead_wise", "lead_pooling": "concat", **NETWORKS[network]}
    settings = PretrainSettings(objective=OBJECTIVES[objective], backbone=backbone, seed=test, **TRAINING)
    hidden = np.flatnonzero(np.isin(archive.patient, archive.patient[held]))
    pretrain(archive, folder, settings, hidden, progress=False)
    return load_encoder(folder)


def read_out(features: Features, how: str, rows: NDArray[np.int64]) -> tuple[Features, NDArray[np.int64]]:
    """Return what the probe sees of features [n, L, D] of rows [m], and the row of each.

    Args:
        features: one vector per lead.
        how: "mean" or "concat" of the leads, or "leads", each for itself.
        rows: which records.
    """
    some = features[rows]
    if how == "leads":
        return some.reshape(-1, some.shape[2]), rows.repeat(some.shape[1])
    return some.mean(1) if how == "mean" else some.reshape(len(some), -1), rows


def probe(features: Features, how: str, labels: LabelTable, splits: Splits, fraction: float, seed: int) -> Features:
    """Return the scores of test records, or of their leads, of a probe that learns from a share of the labels."""
    train = nested_fractions(labels, splits.train, FRACTIONS, seed)[fraction]
    parts = [read_out(features, how, rows) for rows in (train, splits.validation, splits.test)]
    seen, targets = np.concatenate([part for part, _ in parts]), labels.targets[np.concatenate([of for _, of in parts])]
    places = np.split(np.arange(len(seen)), np.cumsum([len(part) for part, _ in parts])[:-1])
    return run_probe(seen, targets, *places, create_task("arrhythmia", labels.classes)).scores


def main(folder: Path, out: Path) -> None:
    """Pretrain every network in every round, probe, and write the table."""
    logging.basicConfig(level=logging.WARNING)
    archive = open_archive(folder)
    labels = read_labels(folder / "labels" / "ptbxl_superdiagnostic.csv", archive)
    rounds = {
        test: SplitSettings(validation_folds=(validation,), test_folds=(test,)).split(labels)
        for test, validation in ROUNDS.items()
    }
    drawn = {}
    for how in READ_OUTS:
        tested = [
            read_out(np.empty((len(labels.rows), len(archive.leads), 1)), how, s.test)[1] for s in rounds.values()
        ]
        drawn[how] = Rotation([Bootstrap(labels.targets[rows], labels.patient[rows]) for rows in tested])
    rows = []
    for network in NETWORKS:
        features: dict[tuple[str, int], Features] = {}
        for test, splits in rounds.items():
            encoders = {
                name: pretrained(network, name, archive, labels.rows[splits.test], test, out) for name in OBJECTIVES
            }
            for name, encoder in {RANDOM: random_encoder(encoders["cmsc"], test), **encoders}.items():
                found = extract_features(encoder, archive, labels.rows)
                features[name, test] = found.reshape(len(found), len(archive.leads), -1)
        for how in READ_OUTS:
            for fraction in FRACTIONS:
                runs = {
                    name: [
                        drawn[how].score(
                            [probe(features[name, test], how, labels, s, fraction, seed) for test, s in rounds.items()]
                        )
                        for seed in SEEDS
                    ]
                    for name in (RANDOM, *OBJECTIVES)
                }
                for name, scored in runs.items():
                    told = drawn[how].intervals(scored)["macro_auroc"]
                    gain = drawn[how].differences(scored, runs[RANDOM])["macro_auroc"]
                    rows.append((network, name, how, fraction, *told[:3], *gain[:4]))
                    print(rows[-1], flush=True)
    columns = ["network", "pretraining", "read_out", "fraction", "mean", "low", "high"]
    table = pd.DataFrame(rows, columns=[*columns, "gain", "gain_low", "gain_high", "p_value"])
    is_gain = table["pretraining"] != RANDOM
    table.loc[~is_gain, ["gain", "gain_low", "gain_high", "p_value"]] = np.nan
    table.loc[is_gain, "holm"] = holm(table.loc[is_gain, "p_value"])
    table.to_csv(out / "summary.csv", index=False, float_format="%.4g")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
