"""Every run behind this page, one at a time: ``python run.py ARCHIVE OUT``; a killed one continues.

Fold 9 of PTB-XL tests, 8 chooses, the others train; the records of CPSC 2018, which name no patients, are drawn. All
systems see the same records and draws of labels; validation chooses between the same two settings for each.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import ssl_ecg
from ssl_ecg import SplitSettings, open_archive
from ssl_ecg.archive import Archive
from ssl_ecg.backbones import Encoder
from ssl_ecg.labels import read_labels
from ssl_ecg.sources.cinc2021 import SCORED

TASKS = {"ptbxl_superdiagnostic": (0.1, 1.0), "cpsc2018": (0.5, 1.0), "ptbxl_rhythm": (0.1, 1.0)}
SPLIT = {"name": "ptbxl", "validation_folds": (8,), "test_folds": (9,)}
SEEDS = (0, 1, 2)
TRAINING = {"batch_size": 32, "precision": "bf16-mixed"}
CANDIDATES = (
    {"learning_rate": 0.003},
    {"learning_rate": 0.001, "augment": {"lead_masking": 0.3, "gaussian_noise": 0.1}},
)
REFERENCE = "xresnet1d10"
SMALL = {"width": 32}

# name: backbone, its options, how it is trained, options of the task
SYSTEMS: dict[str, tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    REFERENCE: (REFERENCE, SMALL, {}, {}),
    "attention_pooling": (REFERENCE, SMALL, {"attention_heads": 4}, {}),
    "semantic_views": (REFERENCE, SMALL, {"supervised_contrastive": 0.3, "semantic_views": True}, {}),
    "wide_and_deep": (REFERENCE, SMALL, {"static": ["age", "sex", "rhythm"]}, {}),
    "label_correction": (REFERENCE, SMALL, {"label_correction": 0.3}, {}),
    "asymmetric_loss": (REFERENCE, SMALL, {}, {"loss": "asymmetric"}),
    "challenge_loss": (REFERENCE, SMALL, {}, {"loss": "challenge"}),
    "gru": ("recurrent", {"cell": "gru"}, {}, {}),
    "lstm": ("recurrent", {"cell": "lstm"}, {}, {}),
    "nbeats1d": ("nbeats1d", {}, {}, {}),
    "lead_wise": ("lead_wise", {}, {}, {}),
    "se_resnet1d18": ("se_resnet1d18", SMALL, {}, {}),
    "multi_scale": ("multi_scale", {}, {}, {}),
    "time_spectrum": ("time_spectrum", {}, {}, {}),
    "shufflenet1d": ("shufflenet1d", {}, {}, {}),
    "separable1d": ("separable1d", {}, {}, {}),
    "wide_resnet1d": ("wide_resnet1d", {}, {}, {}),
    "efficientnet1d": ("efficientnet1d", {}, {}, {}),
    "wavelet_image": ("spectral_image", {"network": "mobilenetv3_small_050"}, {}, {}),
    "squeezenet_on_wavelets": ("spectral_image", {"network": "squeezenet1_1"}, {}, {}),
}

# Classes that PhysioNet/CinC 2021 rewards, by its abbreviations; superclasses are none of them.
REWARDED = {
    "cpsc2018": {
        "Normal": "NSR", "AF": "AF", "I-AVB": "IAVB", "LBBB": "LBBB", "RBBB": "RBBB", "PAC": "PAC", "PVC": "PVC"
    },
    "ptbxl_rhythm": {
        "SR": "NSR", "AFIB": "AF", "AFLT": "AFL", "PACE": "PR", "SARRH": "SA", "SBRAD": "SB", "STACH": "STach"
    },
}  # fmt: skip
REWARDS = Path(__file__).parents[3] / "tests" / "oracles" / "cinc2021_weights.csv"


def rewarded(path: Path, out: Path, known: dict[str, str]) -> tuple[Path, dict[str, dict[str, float]]]:
    """Write a label table whose classes have their codes beside their names; return it and the rewards of its classes.

    A class that the challenge does not score is worth 1 where it is true and named, and nothing else.
    """
    table = pd.read_csv(path)
    codes = {name: "|".join(SCORED[scored]) for name, scored in known.items() if name in table}
    table = table.rename(columns={name: f"{name}|{code}" for name, code in codes.items()})
    classes = [name for name in table if name not in ("record_id", "fold")]
    rewards = pd.DataFrame(np.eye(len(classes)), classes, classes)
    inside = [f"{name}|{code}" for name, code in codes.items()]
    official = pd.read_csv(REWARDS, index_col=0)
    rewards.loc[inside, inside] = official.loc[list(codes.values()), list(codes.values())].to_numpy()
    out.mkdir(parents=True, exist_ok=True)
    table.to_csv(out / path.name, index=False)
    return out / path.name, rewards.to_dict("index")


def with_folds(archive: Archive, path: Path, out: Path) -> Path:
    """Write a label table of records without folds with one for each: 9, 8 or 0."""
    labels = read_labels(path, archive)
    splits = SplitSettings(validation=0.2, test=0.2, patients="unknown").split(labels)
    fold = pd.Series(0, index=archive.manifest["record_id"].astype(object).iloc[labels.rows].to_numpy())
    fold.iloc[splits.validation], fold.iloc[splits.test] = 8, 9
    table = pd.read_csv(path)
    table = table[table["record_id"].isin(fold.index)]
    table.insert(1, "fold", table["record_id"].map(fold))
    out.mkdir(parents=True, exist_ok=True)
    table.to_csv(out / path.name, index=False)
    return out / path.name


def main(folder: Path, out: Path) -> None:
    """Train every system from random weights; read the encoder of simulated hearts; boost named features; few shots."""
    logging.basicConfig(level=logging.WARNING)
    archive = open_archive(folder)
    tables = {name: folder / "labels" / f"{name}.csv" for name in TASKS}
    tables["cpsc2018"] = with_folds(archive, tables["cpsc2018"], out / "labels")
    shared: dict[str, Any] = {"seeds": SEEDS, "split": SPLIT, "progress": False}
    for name, table in tables.items():
        simulated = out / name / "simulated_hearts"
        arms = ("random_probe", "synthetic_probe")
        ssl_ecg.compare("synthetic", archive, table, simulated, arms=arms, fractions=TASKS[name], **shared)
        for encoder in ("none", "synthetic"):
            ssl_ecg.boost(encoder, archive, table, out / name / f"boost_{encoder}", split=SPLIT)
        ssl_ecg.few_shots("synthetic", archive, table, out / name / "few_shots", split=SPLIT)
    for system, (backbone, options, training, task) in SYSTEMS.items():
        for name, table in tables.items():
            if task.get("loss") == "challenge":
                if name not in REWARDED:
                    continue
                table, task["challenge_weights"] = rewarded(table, out / "rewarded", REWARDED[name])
            ssl_ecg.compare(
                Encoder(backbone, options, archive.settings),
                archive,
                table,
                out / name / system,
                arms=("scratch",),
                fractions=TASKS[name],
                scratch={"name": "scratch", **TRAINING, **training},
                scratch_candidates=CANDIDATES,
                pretrained_candidates=CANDIDATES,
                task={"name": "arrhythmia", **task},
                **shared,
            )


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
