"""What pretraining on single leads is worth: ``python single_leads.py ARCHIVE OUT``; some 40 minutes of one core.

A killed run goes on from the pretrainings that are finished. Each of two one-lead networks learns by each of three
objectives, and a linear probe reads it in three ways: the features of the leads averaged; side by side; and as CLOCS
evaluates, each lead as a record of its own with the labels of its ECG. ``OUT/single_leads.csv`` has the scores.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import numpy as np
from probing import Features, Rows, compared, rounds_of, write

from ssl_ecg import open_archive
from ssl_ecg.archive import Archive
from ssl_ecg.backbones import Encoder, load_encoder
from ssl_ecg.comparison.arms import random_encoder
from ssl_ecg.labels import read_labels
from ssl_ecg.training import PretrainSettings, pretrain
from ssl_ecg.training.frozen import extract_features

NETWORKS = {"xresnet1d10": {"single": "xresnet1d10", "width": 8}, "clocs": {"single": "clocs", "width": 128}}
RANDOM = "random weights"
OBJECTIVES = {name: {"name": name, "augment": {}} for name in ("cmsc", "cmlc", "cmsmlc")}
OBJECTIVES["cmsc"]["leads"] = "single"
TRAINING = {"batch_size": 64, "epochs": 20, "patience": 20, "precision": "bf16-mixed"}


def pretrained(network: str, objective: str, archive: Archive, held: Rows, test: int, out: Path) -> Encoder:
    """Return a network of single leads after pretraining without the patients of archive rows ``held``."""
    folder = out / "encoders" / f"{network}-{objective}-{test}"
    backbone = {"name": "lead_wise", "lead_pooling": "concat", **NETWORKS[network]}
    settings = PretrainSettings(objective=OBJECTIVES[objective], backbone=backbone, seed=test, **TRAINING)
    hidden = np.flatnonzero(np.isin(archive.patient, archive.patient[held]))
    pretrain(archive, folder, settings, hidden, progress=False)
    return load_encoder(folder)


def averaged(features: Features, rows: Rows) -> tuple[Features, Rows]:
    """Return the mean over leads of features [n, L, D]."""
    return features[rows].mean(1), rows


def side_by_side(features: Features, rows: Rows) -> tuple[Features, Rows]:
    """Return features [n, L, D] lead after lead, [m, L * D]."""
    return features[rows].reshape(len(rows), -1), rows


def each_lead(features: Features, rows: Rows) -> tuple[Features, Rows]:
    """Return every lead of features [n, L, D] as a record of its own, [m * L, D]."""
    leads = features.shape[1]
    return features[rows].reshape(len(rows) * leads, -1), rows.repeat(leads)


def main(folder: Path, out: Path) -> None:
    """Pretrain every network in every round, probe, and write the table."""
    logging.basicConfig(level=logging.WARNING)
    archive = open_archive(folder)
    labels = read_labels(folder / "labels" / "ptbxl_superdiagnostic.csv", archive)
    tables = []
    for network in NETWORKS:
        features: dict[str, dict[int, Features]] = {name: {} for name in (RANDOM, *OBJECTIVES)}
        for test, splits in rounds_of(labels).items():
            held = labels.rows[splits.test]
            encoders = {name: pretrained(network, name, archive, held, test, out) for name in OBJECTIVES}
            for name, encoder in {RANDOM: random_encoder(encoders["cmsc"], test), **encoders}.items():
                found = extract_features(encoder, archive, labels.rows)
                features[name][test] = found.reshape(len(found), len(archive.leads), -1)
        for read_out in (averaged, side_by_side, each_lead):
            about = {"network": network, "read_out": read_out.__name__}
            tables.append(compared(features, read_out, labels, RANDOM, about))
    write(tables, out / "single_leads.csv")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
