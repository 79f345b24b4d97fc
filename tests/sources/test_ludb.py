from __future__ import annotations

from pathlib import Path

import pytest

from ssl_ecg.archive import ingest
from ssl_ecg.labels import read_labels
from ssl_ecg.sources import SourceError
from ssl_ecg.sources.ludb import labels as read_rhythms

TABLE = """ID,Sex,Age,Rhythms
1,"F
","51
",Sinus rhythm
2,"M
","64
","Atrial fibrillation
Aberrant conduction"
3,M,60,"Atrial flutter, typical
"
4,M,60,
5,M,60,Sinus rhythm
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "ludb"
    (path / "data").mkdir(parents=True)
    (path / "ludb.csv").write_text(TABLE)
    for number in (1, 2, 3, 4):
        (path / "data" / f"{number}.hea").write_text("")
    return path


def test_rhythms_are_classes_of_the_records_that_are_there(folder: Path) -> None:
    (table,) = read_rhythms(folder).values()
    classes = ["aberrant_conduction", "atrial_fibrillation", "atrial_flutter_typical", "sinus_rhythm"]
    assert list(table.columns) == ["record_id", *classes]
    assert table["record_id"].tolist() == ["data/1", "data/2", "data/3"]
    assert table[classes].to_numpy().tolist() == [[0, 0, 0, 1], [1, 1, 0, 0], [0, 0, 1, 0]]


@pytest.mark.parametrize("number", ["../../etc/passwd", "", "1e3", "-1", "٣"])
def test_hostile_numbers_are_refused(folder: Path, number: str) -> None:
    (folder / "ludb.csv").write_text(f"ID,Rhythms\n{number},Sinus rhythm\n", "utf-8")
    with pytest.raises(SourceError, match=r"ludb\.csv: line 2: ID must be the number of a record"):
        read_rhythms(folder)


def test_lacking_columns_are_named(folder: Path) -> None:
    (folder / "ludb.csv").write_text("ID,Rhythm\n1,Sinus rhythm\n")
    with pytest.raises(SourceError, match="lacks the columns Rhythms"):
        read_rhythms(folder)


def test_ingest_brings_the_table(folder: Path, tmp_path: Path, heartbeat, write_wfdb) -> None:
    for number in (1, 2):
        write_wfdb(folder / "data", str(number), heartbeat(seed=number))
    archive = ingest(tmp_path / "in", tmp_path / "archive", workers=1, progress=False).archive
    labels = read_labels(archive.folder / "labels" / "ludb_rhythm.csv", archive)
    assert archive.manifest["record_id"].iloc[labels.rows].tolist() == ["ludb/data/1", "ludb/data/2"]
    assert labels.targets.tolist() == [[0, 0, 0, 1], [1, 1, 0, 0]]


def test_the_real_table(ecg_data: Path) -> None:
    (table,) = read_rhythms(ecg_data / "ludb").values()
    counts = table.drop(columns="record_id").sum().to_dict()
    assert len(table) == 200
    assert counts == {
        "aberrant_conduction": 1,
        "atrial_fibrillation": 15,
        "atrial_flutter_typical": 3,
        "irregular_sinus_rhythm": 2,
        "sinus_arrhythmia": 8,
        "sinus_bradycardia": 25,
        "sinus_rhythm": 143,
        "sinus_tachycardia": 4,
        "wandering_atrial_pacemaker": 3,
    }
