from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from ssl_ecg.archive import ingest
from ssl_ecg.labels import read_labels
from ssl_ecg.sources import SourceError, mimic_iv_ecg

LIST = """subject_id,study_id,file_name,ecg_time,path
10000032,40689238,40689238,2180-07-23 08:44:00,files/p1000/p10000032/s40689238/40689238
10000032,44458630,44458630,2180-07-23 09:54:00,files/p1000/p10000032/s44458630/44458630
10000117,49036311,49036311,2181-03-04 17:14:00,files/p1000/p10000117/s49036311/49036311
"""
STATEMENTS = """subject_id,study_id,cart_id,report_0,report_1,report_2
10000032,40689238,1,Sinus rhythm,Possible right atrial abnormality,
10000032,44458630,1,sinus rhythm.,,
10000117,49036311,1,Atrial fibrillation,,Borderline ECG
"""


@pytest.fixture
def folder(tmp_path: Path, heartbeat, write_wfdb) -> Path:
    root = tmp_path / "mimic"
    for seed, path in enumerate(line.split(",")[-1] for line in LIST.splitlines()[1:]):
        write_wfdb(root / Path(path).parent, Path(path).name, heartbeat(seed=seed))
    write_wfdb(root / "files", "stray", heartbeat(seed=9))
    (root / "record_list.csv").write_text(LIST)
    (root / "machine_measurements.csv").write_text(STATEMENTS)
    return root


def test_patients_times_and_statements_come_along(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mimic_iv_ecg, "MIN_RECORDS", 1)
    report = ingest(tmp_path, tmp_path / "archive", workers=1, progress=False)
    archive = report.archive
    assert archive.manifest["patient_id"].tolist() == ["mimic/10000032", "mimic/10000032", "mimic/10000117"]
    assert archive.manifest["recorded_at"].iloc[1] == pd.Timestamp("2180-07-23 09:54")
    assert report.archive.rejected["path"].tolist() == ["mimic/files/stray.hea"]
    labels = read_labels(archive.folder / "labels" / "mimic_iv_ecg.csv", archive)
    found = pd.DataFrame(labels.targets, columns=labels.classes)
    assert found["sinus rhythm"].tolist() == [1, 1, 0]
    assert found["borderline ecg"].tolist() == [0, 0, 1]
    assert found.to_numpy().sum() == 5


def test_rare_statements_are_no_classes(folder: Path, tmp_path: Path) -> None:
    archive = ingest(tmp_path, tmp_path / "archive", workers=1, progress=False).archive
    assert not (archive.folder / "labels").exists()


def test_a_broken_time_is_told_by_line(folder: Path) -> None:
    (folder / "record_list.csv").write_text(LIST.replace("2181-03-04 17:14:00", "yesterday"))
    with pytest.raises(SourceError, match=r"record_list\.csv: line 4: ecg_time is no date and time"):
        list(mimic_iv_ecg.records(folder))
