"""Validation alone tunes: whatever the test records are, everything that is chosen is the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file

import ssl_ecg
from ssl_ecg.archive import Archive
from ssl_ecg.backbones import Encoder
from ssl_ecg.labels import SplitSettings, read_labels

pytestmark = pytest.mark.slow

CLASSES = ("sinus_rhythm", "sinus_bradycardia")
SPLIT = SplitSettings(validation=0.25, test=0.35, seed=1)
BUDGET = {"steps": 8, "batch_size": 32, "evaluations": 4, "crop": None, "precision": "32-true", "learning_rate": 0.01}
HOW = {"classes": CLASSES, "split": SPLIT}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return ssl_ecg.synthesize(tmp_path_factory.mktemp("tuned") / "archive", records=160, seed=7, duration=5, workers=1)


@pytest.fixture(scope="module")
def encoder(archive: Archive) -> Encoder:
    return Encoder("xresnet1d10", {"width": 4}, archive.settings).eval()


@pytest.fixture(scope="module")
def tables(archive: Archive) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The labels, and the same with those of the test records the other way round."""
    table = pd.read_csv(archive.folder / "labels" / "conditions.csv")[["record_id", *CLASSES]]
    labels = read_labels(table, archive, CLASSES)
    tested = archive.manifest["record_id"].iloc[labels.rows[SPLIT.split(labels).test]]
    other = table.copy()
    other.loc[other["record_id"].isin(tested), list(CLASSES)] = (
        1 - other.loc[other["record_id"].isin(tested), list(CLASSES)]
    )
    assert not other.equals(table)
    return table, other


def thresholds(folder: Path) -> Any:
    return json.loads((folder / "task.json").read_text())["options"]


def test_probe(archive: Archive, encoder: Encoder, tables: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    one, other = (ssl_ecg.probe(encoder, archive, table, **HOW) for table in tables)
    assert one.metrics["macro_auroc"] != other.metrics["macro_auroc"]  # test did change
    for name in ("C", "validation_macro_auroc"):
        assert one.metrics[name] == other.metrics[name]
    assert one.model.task.options == other.model.task.options
    assert one.model.task.options["thresholds"] is not None
    for name, weight in one.model.head.state_dict().items():
        assert np.array_equal(weight, other.model.head.state_dict()[name]), name


def test_finetune(
    archive: Archive, encoder: Encoder, tables: tuple[pd.DataFrame, pd.DataFrame], tmp_path: Path
) -> None:
    folders = [tmp_path / name for name in ("one", "other")]
    one, other = (
        ssl_ecg.finetune(encoder, archive, table, folder, training=BUDGET, progress=False, **HOW)
        for table, folder in zip(tables, folders, strict=True)
    )
    assert one.metrics["macro_auroc"] != other.metrics["macro_auroc"]
    assert one.metrics["step"] == other.metrics["step"]
    assert thresholds(folders[0]) == thresholds(folders[1])
    for file in ("model.safetensors", "head.safetensors"):
        weights, others = (load_file(folder / file) for folder in folders)
        assert all(np.array_equal(weights[name], others[name]) for name in weights)


def test_compare(archive: Archive, encoder: Encoder, tables: tuple[pd.DataFrame, pd.DataFrame], tmp_path: Path) -> None:
    candidates = ({"learning_rate": 1e-4}, {"learning_rate": 0.03})
    chosen = []
    for name, table in zip(("one", "other"), tables, strict=True):
        ssl_ecg.compare(
            encoder, archive, table, tmp_path / name, fractions=(0.5,), seeds=(0,), replicates=20, progress=False,
            pretrained_finetune=BUDGET, scratch={"name": "scratch", **BUDGET},
            pretrained_candidates=candidates, scratch_candidates=candidates, **HOW,
        )  # fmt: skip
        results = pd.read_csv(tmp_path / name / "results.csv").set_index("arm").sort_index()
        chosen.append(results[["C", "candidate", "step", "validation_macro_auroc"]])
        chosen[-1].attrs["test"] = results["macro_auroc"].tolist()
    pd.testing.assert_frame_equal(*chosen)
    assert chosen[0].attrs["test"] != chosen[1].attrs["test"]
