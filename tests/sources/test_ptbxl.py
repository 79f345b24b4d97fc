"""PTB-XL's tables: ages, folds, rates, and the six tasks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ssl_ecg.archive import ingest
from ssl_ecg.labels import read_labels, split_by_fold
from ssl_ecg.signals import SignalSettings
from ssl_ecg.sources import SourceError
from ssl_ecg.sources.ptbxl import TASKS, records
from ssl_ecg.sources.ptbxl import labels as read_tasks

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
    assert [(r.path, r.patient_id, r.age, r.sex) for r in records(folder)] == [
        ("records100/00001_lr.hea", "7", 90.0, "male"),
        ("records100/00002_lr.hea", "7", 41.0, "female"),
        ("records100/00003_lr.hea", "8", None, "female"),
        ("records100/00004_lr.hea", "9", 70.0, "male"),
    ]
    assert read_tasks(folder)["ptbxl_superdiagnostic"]["fold"].tolist() == [1, 1, 8]


def test_table_that_is_not_there_is_named_with_what_it_is_for(folder: Path) -> None:
    (folder / "scp_statements.csv").unlink()
    with pytest.raises(SourceError, match=r"scp_statements\.csv: is not there, it says which classes make the labels;"):
        read_tasks(folder)


def test_ingest_without_a_table_of_the_data_set_ends_before_a_signal_is_read(folder: Path, tmp_path: Path) -> None:
    (folder / "scp_statements.csv").unlink()
    missing = r"ptbxl/scp_statements\.csv is not there, it says which classes make the labels; download it"
    with pytest.raises(FileNotFoundError, match=missing):
        ingest(tmp_path, tmp_path / "archive", workers=1)
    assert not (tmp_path / "archive").exists()


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
    table = read_tasks(folder)[f"ptbxl_{task}"]
    classes = list(table.columns[2:])
    assert classes == sorted(classes)
    assert [[c for c in classes if row[c]] for _, row in table.iterrows()] == expected
    assert table["record_id"].str.startswith("records100/").all()


@pytest.mark.parametrize(("rate", "second"), [(100, "records100/00002_lr"), (500, "records500/00002_hr")])
def test_rate_chooses_the_recording_that_is_there(
    folder: Path, tmp_path: Path, heartbeat, write_wfdb, rate: int, second: str
) -> None:
    for i in (1, 2, 3, 4):
        write_wfdb(folder / "records100", f"{i:05d}_lr", heartbeat(100, seed=i), 100)
    write_wfdb(folder / "records500", "00002_hr", heartbeat(500, seed=2), 500)
    settings = SignalSettings(sampling_rate=rate)
    archive = ingest(tmp_path / "ptbxl", tmp_path / "archive", settings, workers=1, progress=False).archive
    assert set(archive.manifest["record_id"]) == {*(f"records100/0000{i}_lr" for i in (1, 3, 4)), second}
    assert not len(archive.rejected)
    labels = read_labels(archive.folder / "labels" / "ptbxl_all.csv", archive)
    assert archive.manifest["record_id"].iloc[labels.rows].tolist()[1] == second
    assert labels.targets[1].sum() == 2


def test_other_rate_where_only_that_is_there(folder: Path, tmp_path: Path, heartbeat, write_wfdb) -> None:
    write_wfdb(folder / "records500", "00002_hr", heartbeat(500, seed=2), 500)
    report = ingest(tmp_path / "ptbxl", tmp_path / "archive", workers=1, progress=False)
    assert report.archive.manifest["record_id"].tolist() == ["records500/00002_hr"]
    assert report.reasons == {"missing file": 3}


def test_broken_database_rejects_its_recordings_and_no_others(
    folder: Path, tmp_path: Path, heartbeat, write_wfdb
) -> None:
    write_wfdb(folder / "records100", "00001_lr", heartbeat(100), 100)
    write_wfdb(tmp_path / "own", "r0", heartbeat(), 500)
    (folder / "ptbxl_database.csv").write_text("<html>no such file</html>")
    report = ingest(tmp_path, tmp_path / "archive", workers=1, progress=False)
    assert report.archive.manifest["record_id"].tolist() == ["own/r0"]
    reasons = report.archive.rejected.set_index("path")["reason"]
    assert reasons["ptbxl/ptbxl_database.csv"].startswith("broken table: lacks the columns age, filename_lr")
    assert reasons["ptbxl/records100/00001_lr.hea"] == "broken table: ptbxl cannot say whose this recording is"
    (folder / "ptbxl_database.csv").write_text(DATABASE)  # mended, it is taken
    report = ingest(tmp_path, tmp_path / "archive", workers=1, progress=False)
    assert (report.accepted, report.reasons) == (1, {"missing file": 3})
    assert "ptbxl/ptbxl_database.csv" not in set(report.archive.rejected["path"])


@pytest.mark.parametrize("codes", ["__import__('os').getcwd()", "[1", "'text'", "{'a': 1}" + " " * 20_000, "((" * 4000])
def test_hostile_codes_are_refused_by_line(folder: Path, codes: str) -> None:
    table = pd.read_csv(folder / "ptbxl_database.csv")
    table.loc[1, "scp_codes"] = codes
    table.to_csv(folder / "ptbxl_database.csv", index=False)
    with pytest.raises(SourceError, match=r"ptbxl_database\.csv: line 3: scp_codes must be a dict"):
        read_tasks(folder)


def test_lacking_columns_are_named(folder: Path) -> None:
    pd.read_csv(folder / "ptbxl_database.csv").drop(columns="strat_fold").to_csv(folder / "ptbxl_database.csv")
    with pytest.raises(SourceError, match="lacks the columns strat_fold"):
        read_tasks(folder)


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
    assert [reason.split(":")[0] for reason in archive.rejected["reason"]] == ["flat lead", "not listed"]
    assert [Path(path).name for path in archive.rejected["path"]] == ["00003_lr.hea", "99999_lr.hea"]
    assert archive.patient_known.all()
    for task in TASKS:
        assert (archive.folder / "labels" / f"ptbxl_{task}.csv").is_file()
    labels = read_labels(archive.folder / "labels" / "ptbxl_rhythm.csv", archive)
    assert labels.fold.tolist() == [1, 9]
    assert labels.rows.tolist() == [0, 2]
    with pytest.raises(ValueError, match=r"validation is empty; choose from the table.s folds 1, 9"):
        split_by_fold(labels, (8,), (9,))


def test_real_tables_have_the_published_classes(ecg_data: Path) -> None:
    tables = read_tasks(ecg_data / "ptbxl")
    counts = {task: tables[f"ptbxl_{task}"].shape[1] - 2 for task in TASKS}
    assert counts == {"all": 71, "diagnostic": 44, "subdiagnostic": 23, "superdiagnostic": 5, "form": 19, "rhythm": 12}
    table = tables["ptbxl_superdiagnostic"]
    assert len(table) == len(list(records(ecg_data / "ptbxl"))) == 1625
    assert list(table.columns[2:]) == ["CD", "HYP", "MI", "NORM", "STTC"]
