from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd

from ssl_ecg.archive import ingest
from ssl_ecg.labels import read_labels
from ssl_ecg.sources import SOURCES
from ssl_ecg.sources.cinc2021 import CLASSES, SCORED
from ssl_ecg.tasks import create_task

WEIGHTS = Path(__file__).parents[1] / "oracles" / "cinc2021_weights.csv"


def write(folder: Path, name: str, diagnoses: str) -> None:
    folder.mkdir(exist_ok=True, parents=True)
    (folder / f"{name}.hea").write_text(f"{name} 12 500 5000\n#Age: 74\n#Dx: {diagnoses}\n")
    (folder / f"{name}.mat").write_bytes(b"")


def table_of(folder: Path) -> pd.DataFrame | None:
    source = SOURCES["cinc2021"]
    return source.labels(folder)["cinc2021"] if source.detect(folder, frozenset(os.listdir(folder))) else None


def test_scored_classes_are_those_of_the_published_rewards() -> None:
    names = pd.read_csv(WEIGHTS, index_col=0).index.astype(str)
    assert [set(name.split("|")) for name in names] == [set(codes) for codes in SCORED.values()]


def test_codes_become_classes_and_equivalent_ones_are_one(tmp_path: Path) -> None:
    write(tmp_path, "E07533", "59118001,164889003")
    write(tmp_path, "E07534", "713427006")
    write(tmp_path, "JS1", "426177001,164934002,9999999")
    write(tmp_path, "JS2", "55930002")  # not scored
    write(tmp_path, "X", "Unknown")
    found = table_of(tmp_path)
    assert found is not None
    assert list(found) == ["record_id", *CLASSES]
    positives = {row["record_id"]: [c.split("|")[0] for c in CLASSES if row[c]] for _, row in found.iterrows()}
    assert positives == {"E07533": ["AF", "RBBB"], "E07534": ["RBBB"], "JS1": ["SB", "TAb"], "JS2": []}


def test_words_are_another_data_set(tmp_path: Path) -> None:
    write(tmp_path, "A0001", "RBBB")
    assert table_of(tmp_path) is None


def test_ingest_brings_the_table_from_any_depth_and_the_metric_finds_its_rewards(
    tmp_path: Path, heartbeat, write_wfdb
) -> None:
    for number, codes in enumerate(("164889003", "426783006,164890007", "427084000")):
        folder = tmp_path / "in" / "georgia" / f"g{number // 2 + 1}"
        write_wfdb(folder, f"E{number}", heartbeat(seed=number), comments=f"#Dx: {codes}\n")
        (folder / f"E{number}.mat").write_bytes(b"")
    archive = ingest(tmp_path / "in", tmp_path / "archive", workers=1, progress=False).archive
    labels = read_labels(archive.folder / "labels" / "cinc2021.csv", archive)
    assert labels.classes == CLASSES
    assert archive.manifest["record_id"].iloc[labels.rows].tolist() == [
        "georgia/g1/E0",
        "georgia/g1/E1",
        "georgia/g2/E2",
    ]
    assert labels.targets.sum() == 4
    task = create_task("arrhythmia", CLASSES, challenge_weights=WEIGHTS)
    task.set_thresholds(np.full(len(CLASSES), 0.5))
    assert task.evaluate(labels.targets, labels.targets)["challenge_metric"] == 1
    rewards = task.options["challenge_weights"]
    assert rewards["AF|164889003"]["AFL|164890007"] == 0.5
