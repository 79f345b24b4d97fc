from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ssl_ecg.archive import ingest
from ssl_ecg.labels import read_labels
from ssl_ecg.sources import SOURCES
from ssl_ecg.sources.cpsc2018 import CLASSES


def write(folder: Path, name: str, comments: bytes, suffix: str = "mat") -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.hea").write_bytes(name.encode() + b" 12 500 5000\n" + comments)
    (folder / f"{name}.{suffix}").write_bytes(b"")


def read(folder: Path) -> pd.DataFrame | None:
    source = SOURCES["cpsc2018"]
    return source.labels(folder)["cpsc2018"] if source.detect(folder, frozenset(os.listdir(folder))) else None


def test_words_of_the_headers_are_classes(tmp_path: Path) -> None:
    write(tmp_path, "A2", b"#Age: 74\r\n#Dx: AF,RBBB\r\n#Rx: Unknown\r\n")
    write(tmp_path, "A1", b"# Dx : STE \n")
    write(tmp_path, "A3", b"#Dx: Normal,\n#dx: PAC\n")
    table = read(tmp_path)
    assert table is not None
    assert list(table.columns) == ["record_id", *CLASSES]
    assert table["record_id"].tolist() == ["A1", "A2", "A3"]
    positives = [[name for name in CLASSES if row[name]] for _, row in table.iterrows()]
    assert positives == [["STE"], ["AF", "RBBB"], ["Normal", "PAC"]]
    assert table[list(CLASSES)].isin([0, 1]).all(axis=None)


def test_records_without_a_known_diagnosis_have_no_labels_and_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, "good", b"#Dx: AF\n")
    write(tmp_path, "empty", b"#Dx: \n")
    write(tmp_path, "none", b"")
    write(tmp_path, "other", b"#Dx: AF,164889003\n")
    write(tmp_path, "binary", b"\xff\x00#Dx: \xff\n" + b"#" * 300_000)
    (tmp_path / "folder.hea").mkdir()
    (tmp_path / "folder.mat").write_bytes(b"")
    write(tmp_path, "no_mat", b"#Dx: AF\n", "dat")
    with caplog.at_level(logging.WARNING):
        found = read(tmp_path)
    assert found is not None
    assert found["record_id"].tolist() == ["good"]
    assert "no labels for 5 records" in caplog.text


def test_other_data_sets_are_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, "JS1", b"#Dx: 426177001,164934002\n")
    assert read(tmp_path) is None
    (tmp_path / "JS1.hea").unlink()
    assert read(tmp_path) is None
    assert not caplog.text


def test_ingest_brings_the_table(tmp_path: Path, heartbeat, write_wfdb) -> None:
    for name, words in (("A1", "AF"), ("A2", "Normal"), ("A3", "PVC")):
        write_wfdb(tmp_path / "in" / "cpsc", name, heartbeat(seed=int(name[1])), comments=f"#Dx: {words}\n")
        (tmp_path / "in" / "cpsc" / f"{name}.mat").write_bytes(b"")
    write_wfdb(tmp_path / "in" / "cpsc", "A3", np.zeros((12, 5000)), comments="#Dx: PVC\n")
    archive = ingest(tmp_path / "in", tmp_path / "archive", workers=1, progress=False).archive
    labels = read_labels(archive.folder / "labels" / "cpsc2018.csv", archive)
    assert labels.classes == CLASSES
    assert archive.manifest["record_id"].iloc[labels.rows].tolist() == ["cpsc/A1", "cpsc/A2"]
    assert labels.targets.sum(axis=0).tolist() == [1, 1, 0, 0, 0, 0, 0, 0, 0]


def test_real_headers(ecg_data: Path) -> None:
    table = read(ecg_data / "cpsc2018")
    assert table is not None
    assert len(table) == 150
    counts = {"Normal": 20, "AF": 24, "I-AVB": 7, "LBBB": 8, "RBBB": 32, "PAC": 13, "PVC": 18, "STD": 19, "STE": 13}
    pd.testing.assert_series_equal(table[list(CLASSES)].sum(), pd.Series(counts))
