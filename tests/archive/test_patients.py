"""A table that says whose the records are; records that lack leads or are short."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ssl_ecg.archive import ArchiveError, ingest, open_archive
from ssl_ecg.records import LEADS
from ssl_ecg.signals import SignalSettings

SALT = "a salt of more than 16"


def run(source: Path, archive: Path, patients=None, **options):
    return ingest(source, archive, **{"workers": 1, "progress": False, "patients": patients, **options})


@pytest.fixture(scope="module")
def source(tmp_path_factory, heartbeat, write_wfdb) -> Path:
    """42 recordings that know nobody's name, an age of 99 and no sex."""
    folder = tmp_path_factory.mktemp("data") / "clinic"
    for i in range(42):
        write_wfdb(folder, f"r{i:02d}", heartbeat(100, 5, seed=i), 100, comments="#Age: 99\n")
    return folder


@pytest.fixture
def table() -> pd.DataFrame:
    """Two records of each of 21 patients."""
    return pd.DataFrame(
        {
            "record_id": [f"r{i:02d}" for i in range(42)],
            "patient_id": [f"{i // 2:03d}" for i in range(42)],
            "recorded_at": [f"2021-03-{1 + i // 2:02d} 08:{i:02d}" for i in range(42)],
            "age": [None if i == 3 else 40 + i // 2 for i in range(42)],
            "sex": ["F" if i // 2 % 2 else "male" for i in range(42)],
            "site": ["north" if i < 20 else "south" for i in range(42)],
            "beds": range(42),
            "icd": [True] * 42,
        }
    )


@pytest.mark.parametrize("kind", ["csv", "parquet", "table"])
def test_table_names_patients(source: Path, tmp_path: Path, table: pd.DataFrame, kind: str) -> None:
    given = table if kind == "table" else tmp_path / f"p.{kind}"
    if kind == "csv":
        table.to_csv(given, index=False)
    elif kind == "parquet":
        table.to_parquet(given)
    report = run(source, tmp_path / "a", given)
    archive = report.archive
    manifest = archive.manifest
    assert len(archive) == 42
    assert manifest["patient_id"].nunique() == len(set(archive.patient)) == 21
    assert manifest["patient_id"].iloc[4] == "clinic/002"
    assert archive.patient_known.all()
    assert manifest["age"].tolist() == [99 if i == 3 else 40 + i // 2 for i in range(42)]
    assert manifest["sex"].tolist() == ["female" if i // 2 % 2 else "male" for i in range(42)]
    assert manifest["recorded_at"].iloc[41] == pd.Timestamp("2021-03-21 08:41")
    assert manifest["site"].tolist() == table["site"].tolist()
    assert manifest["beds"].tolist() == list(range(42))
    assert (manifest["beds"].dtype, manifest["icd"].dtype) == (np.dtype("int64"), np.dtype("bool"))
    assert json.loads((tmp_path / "a" / "archive.json").read_text())["patients_known"] is True
    assert not any("patients unknown" in line for line in report.summary)


def test_nobody_known(source: Path, tmp_path: Path, caplog) -> None:
    with caplog.at_level(logging.INFO):
        report = run(source, tmp_path / "a")
    said = "patients unknown: 42 of 42 records are counted as patients of their own"
    assert said in report.summary
    assert said in caplog.text
    assert not report.archive.patient_known.any()
    assert json.loads((tmp_path / "a" / "archive.json").read_text())["patients_known"] is False
    assert report.archive.manifest["age"].eq(99).all()


def test_some_known_salted_and_rows_of_nobody(source: Path, tmp_path: Path, table: pd.DataFrame, caplog) -> None:
    few = pd.concat([table.head(3), table.head(2).assign(record_id=["ghost", "r00.hea"])])
    few.loc[few["record_id"] == "r01", "patient_id"] = " "
    report = run(source, tmp_path / "a", few, salt=SALT)
    manifest = report.archive.manifest
    assert manifest["patient_id"].iloc[0] == hmac.new(SALT.encode(), b"clinic/000", hashlib.sha256).hexdigest()
    assert report.archive.patient_known.tolist() == [True, False, True] + [False] * 39
    assert manifest["patient_id"].nunique() == 42
    assert "patients unknown: 40 of 42 records are counted as patients of their own" in report.summary
    assert "2 of 5 record ids are those of no file; an id is" in caplog.text
    assert manifest["site"].isna().sum() == 39
    assert manifest["beds"].dropna().tolist() == [0, 1, 2]


def test_table_below_the_source_is_no_recording(tmp_path: Path, table: pd.DataFrame, heartbeat, write_wfdb) -> None:
    write_wfdb(tmp_path / "s", "r00", heartbeat(100), 100)
    table.to_csv(tmp_path / "s" / "people.csv", index=False)
    report = run(tmp_path / "s", tmp_path / "a", tmp_path / "s" / "people.csv")
    assert (report.accepted, report.unknown) == (1, 0)


@pytest.mark.slow
def test_archive_goes_on_with_other_columns(tmp_path: Path, table: pd.DataFrame, heartbeat, write_wfdb, caplog) -> None:
    for seed, (folder, name) in enumerate((("one", "r00"), ("two", "r01"), ("three", "r02"))):
        write_wfdb(tmp_path / folder, name, heartbeat(100, seed=seed), 100)
    run(tmp_path / "one", tmp_path / "a", table)
    run(tmp_path / "two", tmp_path / "a")
    with pytest.raises(ArchiveError, match=r"holds str.* in column 'site', now given Int64"):
        run(tmp_path / "three", tmp_path / "a", table.assign(site=3))
    manifest = run(tmp_path / "three", tmp_path / "a", table.drop(columns="beds").assign(new=1.5)).archive.manifest
    assert manifest["site"].astype(object).where(manifest["site"].notna(), None).tolist() == ["north", None, "north"]
    assert manifest["beds"].isna().tolist() == [False, True, True]
    assert manifest["new"].isna().tolist() == [True, True, False]
    assert run(tmp_path / "three", tmp_path / "a", table).skipped == 1
    assert "keep the patients they have" not in caplog.text
    run(tmp_path / "two", tmp_path / "a", table)
    assert "patients: 1 records keep the patients they have; ingest into a new folder to change them" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"age": "old"}, r"p\.csv: column age, line 2: is no age in years"),
        ({"age": 300}, r"p\.csv: column age, line 2"),
        ({"sex": "2"}, r"p\.csv: column sex, line 2: is no sex that is known; give female, male, F, M"),
        ({"recorded_at": "31.03.2021"}, r"p\.csv: column recorded_at, line 2: is no date; write 2021-03-31"),
        ({"record_id": "r00"}, r"p\.csv: record_id of line 3 stands there twice"),
        ({"record_id": ""}, r"p\.csv: record_id is blank in line 2"),
        ({"part": 3}, r"p\.csv: column 'part' stands there twice or is one that ingest writes"),
    ],
)
def test_bad_tables_are_refused_by_name(source: Path, tmp_path: Path, table, change: dict, message: str) -> None:
    table.assign(**change).to_csv(tmp_path / "p.csv", index=False)
    with pytest.raises(ValueError, match=message):
        run(source, tmp_path / "a", tmp_path / "p.csv")
    assert not (tmp_path / "a").exists()


def test_tables_that_are_none(source: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"patients=.*p\.csv: there is no such table"):
        run(source, tmp_path / "a", tmp_path / "p.csv")
    with pytest.raises(ValueError, match="has no column record_id, only id"):
        run(source, tmp_path / "a", pd.DataFrame({"id": [1]}))
    with pytest.raises(ValueError, match="a table: column plan, line 2 and others: are of no type"):
        run(source, tmp_path / "a", pd.DataFrame({"record_id": ["a", "b"], "plan": [[1], {"x": 2}]}))
    (tmp_path / "p.csv").write_text("")
    with pytest.raises(ValueError, match=r"p\.csv: cannot be read"):
        run(source, tmp_path / "a", tmp_path / "p.csv")


def test_records_that_lack_leads_or_are_short(tmp_path: Path, heartbeat, write_wfdb, caplog) -> None:
    signal = heartbeat(100, 10)
    write_wfdb(tmp_path / "s", "all", signal, 100)
    write_wfdb(tmp_path / "s", "limb", signal[:2], 100)
    write_wfdb(tmp_path / "s", "short", heartbeat(100, 6.5), 100)
    chest = write_wfdb(tmp_path / "s", "chest", signal[:3], 100).with_suffix(".hea")
    chest.write_text(chest.read_text().replace(" III\n", " V2\n").replace(" I\n", " V5\n").replace(" II\n", " V1\n"))
    strict = run(tmp_path / "s", tmp_path / "strict")
    assert (strict.accepted, strict.reasons, strict.partial, strict.short) == (2, {"missing lead": 2}, 0, 1)

    settings = SignalSettings(leads=(*LEADS[:2], "V5", "aVF"), normalise="none")
    with caplog.at_level(logging.INFO):
        report = run(tmp_path / "s", tmp_path / "a", settings=settings, partial_leads=True)
    assert (report.accepted, report.rejected, report.partial, report.short) == (4, 0, 2, 1)
    assert "2 records lack leads; what was not recorded holds 0" in caplog.text
    assert "1 records are shorter than 10 s; what was not recorded holds 0" in caplog.text
    manifest = open_archive(tmp_path / "a").manifest.set_index("record_id")
    assert manifest["leads"].to_dict() == {
        "all": "I II V5 aVF",
        "chest": "V5",
        "limb": "I II aVF",
        "short": "I II V5 aVF",
    }
    assert manifest["recorded"].to_dict() == {"all": 1000, "chest": 1000, "limb": 1000, "short": 650}
    whole, only = (np.fromfile(tmp_path / "a" / "signals" / "00000.i16", "<i2").reshape(4, 4, 1000)[i] for i in (0, 2))
    assert not only[2].any()
    np.testing.assert_array_equal(only[[0, 1]], whole[[0, 1]])
    assert np.abs(only[3] - whole[3]).max() <= 1

    other = run(tmp_path / "s", tmp_path / "b", settings=SignalSettings(leads=("V6", "V5")), partial_leads=True)
    assert other.archive.rejected.values.tolist() == [["limb.hea", "missing lead: V6, V5 wanted, record has I, II"]]
