"""PTB-XL's tables: ages, folds, rates, and the six tasks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ssl_ecg.archive import ingest
from ssl_ecg.labels import read_labels, split_by_fold
from ssl_ecg.sources.ptbxl import PTBXL, TASKS

STATEMENTS = """,description,diagnostic,form,rhythm,diagnostic_class,diagnostic_subclass
NORM,normal ECG,1.0,,,NORM,NORM
IMI,inferior infarction,1.0,,,MI,IMI
AMI,anterior infarction,1.0,,,MI,AMI
NDT,non-diagnostic T,1.0,1.0,,STTC,STTC
PVC,premature beat,,1.0,,,
SR,sinus rhythm,,,1.0,,
"""
DATABASE = """ecg_id,patient_id,age,sex,scp_codes,strat_fold,filename_lr,filename_hr
1,7.0,300.0,0,"{'NORM': 80.0, 'SR': 0.0}",1,records100/00001_lr,records500/00001_hr
2,7.0,41.0,1,"{'IMI': 15.0, 'AMI': 0.0, 'UNHEARD': 100.0}",1,records100/00002_lr,records500/00002_hr
3,8.0,,1,"{'NDT': 100.0, 'PVC': 100.0}",8,records100/00003_lr,records500/00003_hr
4,9.0,70.0,0,"{'SR': 100.0}",9,records100/00004_lr,records500/00004_hr
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "ptbxl"
    path.mkdir()
    (path / "scp_statements.csv").write_text(STATEMENTS)
    (path / "ptbxl_database.csv").write_text(DATABASE)
    return path


def test_people(folder: Path) -> None:
    records = PTBXL.read(folder).records
    assert [(r.patient_id, r.age, r.sex, r.fold) for r in records] == [
        ("7", 90.0, "male", 1),
        ("7", 41.0, "female", 1),
        ("8", None, "female", 8),
        ("9", 70.0, "male", 9),
    ]


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("all", [["NORM", "SR"], ["AMI", "IMI"], ["NDT", "PVC"], ["SR"]]),
        ("diagnostic", [["NORM"], ["AMI", "IMI"], ["NDT"]]),
        ("subdiagnostic", [["NORM"], ["AMI", "IMI"], ["STTC"]]),
        ("superdiagnostic", [["NORM"], ["MI"], ["STTC"]]),
        ("form", [["NDT", "PVC"]]),
        ("rhythm", [["SR"], ["SR"]]),
    ],
)
def test_tasks(folder: Path, task: str, expected: list[list[str]]) -> None:
    table = PTBXL.read(folder).label_table(task, "x/")
    classes = list(table.columns[2:])
    assert classes == sorted(classes)
    assert [[c for c in classes if row[c]] for _, row in table.iterrows()] == expected
    assert table["record_id"].str.startswith("x/records100/").all()


def test_rate_chooses_the_recording_that_is_there(folder: Path) -> None:
    (folder / "records500").mkdir()
    (folder / "records500" / "00002_hr.hea").write_text("")
    paths = [record.path for record in PTBXL.read(folder, 500).records]
    assert paths[:2] == ["records100/00001_lr", "records500/00002_hr"]
    assert PTBXL.read(folder, 100).records[1].path == "records100/00002_lr"


@pytest.mark.parametrize("codes", ["__import__('os').getcwd()", "[1", "'text'", "{'a': 1}" + " " * 20_000, "((" * 4000])
def test_hostile_codes_are_refused_by_line(folder: Path, codes: str) -> None:
    table = pd.read_csv(folder / "ptbxl_database.csv")
    table.loc[1, "scp_codes"] = codes
    table.to_csv(folder / "ptbxl_database.csv", index=False)
    with pytest.raises(ValueError, match=r"ptbxl_database\.csv, line 3: scp_codes must be a dict"):
        PTBXL.read(folder)


def test_lacking_columns_are_named(folder: Path) -> None:
    pd.read_csv(folder / "ptbxl_database.csv").drop(columns="strat_fold").to_csv(folder / "ptbxl_database.csv")
    with pytest.raises(ValueError, match="lacks the columns strat_fold"):
        PTBXL.read(folder)
    with pytest.raises(ValueError, match=r"task must be one of all, .*, got 'super'"):
        PTBXL(folder, ()).label_table("super")


def test_ingest_brings_patients_and_tables(folder: Path, tmp_path: Path, heartbeat, write_wfdb) -> None:
    for i in (1, 2, 4):
        write_wfdb(folder / "records100", f"{i:05d}_lr", heartbeat(100, seed=i), 100, "NU")
    write_wfdb(folder / "records100", "00003_lr", np.zeros((12, 1000)), 100, "NU")
    write_wfdb(folder / "records100", "99999_lr", heartbeat(100), 100)
    report = ingest(tmp_path, tmp_path / "archive", workers=1, progress=False)
    archive = report.archive
    assert list(archive.manifest["patient_id"]) == ["ptbxl/7", "ptbxl/7", "ptbxl/9"]
    assert archive.manifest["age"].tolist() == [90, 41, 70]
    assert not archive.manifest["calibrated"].any()
    assert list(archive.rejected["path"]) == ["ptbxl/records100/00003_lr.hea"]
    for task in TASKS:
        assert (archive.folder / "labels" / f"ptbxl_{task}.csv").is_file()
    labels = read_labels(archive.folder / "labels" / "ptbxl_rhythm.csv", archive)
    assert labels.fold.tolist() == [1, 9]
    assert labels.rows.tolist() == [0, 2]
    with pytest.raises(ValueError, match=r"validation is empty .*the table has folds 1, 9"):
        split_by_fold(labels)


def test_real_tables_have_the_published_classes(ecg_data: Path) -> None:
    database = PTBXL.read(ecg_data / "ptbxl")
    counts = {task: database.label_table(task).shape[1] - 2 for task in TASKS}
    assert counts == {"all": 71, "diagnostic": 44, "subdiagnostic": 23, "superdiagnostic": 5, "form": 19, "rhythm": 12}
    table = database.label_table("superdiagnostic")
    assert len(table) == len(database.records) == 1625
    assert list(table.columns[2:]) == ["CD", "HYP", "MI", "NORM", "STTC"]
