"""What an archive under a salt tells of people, and what stays at home."""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ssl_ecg
from ssl_ecg.archive import ArchiveError, ingest, open_archive
from ssl_ecg.archive.patient_ids import id_scheme, told_age, told_time
from ssl_ecg.archive.record_ids import table_at_home
from ssl_ecg.labels import read_columns, read_labels

pytestmark = pytest.mark.process

SALT = "correct horse battery"


def run(source: Path, archive: Path, **options):
    return ingest(source, archive, **{"workers": 1, "progress": False, "salt": SALT, **options})


@pytest.fixture
def source(tmp_path: Path, heartbeat, write_wfdb) -> Path:
    """Two visits each of two patients whose folders bear their names, and files that are rejected."""
    folder = tmp_path / "clinic"
    for i in range(4):
        path = write_wfdb(folder / f"Mustermann{i // 2}", f"visit{i}", heartbeat(100, seed=i), 100).with_suffix(".hea")
        header = path.with_suffix(".hea")
        first, _, rest = header.read_text().partition("\n")
        header.write_text(f"{first} 10:00:0{i} {10 + i}/02/2020\n{rest}#Age: {88 + i}\n#Sex: F\n")
    write_wfdb(folder / "Mustermann1", "flat", np.zeros((12, 1000)), 100)
    (folder / "Erika.Mustermann").write_text("notes")
    return folder


def people(source: Path) -> pd.DataFrame:
    ids = [f"Mustermann{i // 2}/visit{i}" for i in range(4)]
    return pd.DataFrame({"record_id": ids, "patient_id": [f"{7 + i // 2}" for i in range(4)], "site": ["n", "s"] * 2})


def test_nothing_in_the_archive_names_anybody(source: Path, tmp_path: Path, caplog) -> None:
    archive = run(source, tmp_path / "a", patients=people(source)).archive
    for file in (path for path in (tmp_path / "a").rglob("*") if path.is_file()):
        for name in (b"Muster", b"visit", b"Erika", str(tmp_path).encode()):
            assert name not in file.read_bytes(), file
    assert not any(name in caplog.text for name in ("Muster", "visit", "Erika"))
    manifest = archive.manifest
    assert manifest["record_id"].str.fullmatch("[0-9a-f]{32}").all()
    assert manifest["patient_id"].tolist() == [
        hmac.new(SALT.encode(), f"clinic/{7 + i // 2}".encode(), hashlib.sha256).hexdigest() for i in (0, 1, 2, 3)
    ]
    assert manifest["age"].tolist() == [88, 89, 90, 90]
    assert set(manifest["source"]) == {"clinic"}
    assert manifest["site"].tolist() == ["n", "s", "n", "s"]
    assert sorted(archive.rejected["reason"]) == ["flat lead", "unknown format"]
    assert archive.rejected["path"].str.fullmatch(r"[0-9a-f]{32}(\.hea)?").all()


def test_times_are_shifted_by_a_constant_of_the_patient(source: Path, tmp_path: Path) -> None:
    times = run(source, tmp_path / "a", patients=people(source)).archive.manifest["recorded_at"]
    real = pd.to_datetime([f"2020-02-{10 + i} 10:00:0{i}" for i in range(4)])
    shifts = times - real
    assert shifts[0] == shifts[1] != shifts[2] == shifts[3]
    assert ((shifts < pd.Timedelta(days=-364)) & (shifts > pd.Timedelta(days=-3651))).all()
    assert shifts.dt.seconds.eq(0).all()
    years = run(source, tmp_path / "b", times="year").archive.manifest["recorded_at"]
    assert set(years) == {pd.Timestamp("2020-01-01")}
    assert run(source, tmp_path / "c", times="kept").archive.manifest["recorded_at"].tolist() == real.tolist()
    with pytest.raises(ArchiveError, match="times: 'shifted' there, 'kept' now"):
        run(source, tmp_path / "a", times="kept", patients=people(source))
    with pytest.raises(ValueError, match="times='never'"):
        run(source, tmp_path / "d", times="never")


def test_the_table_that_explains_the_ids_stays_at_home(source: Path, tmp_path: Path) -> None:
    archive = run(source, tmp_path / "a").archive
    table = table_at_home(tmp_path / "a")
    assert table == tmp_path / "a.ids.csv"
    assert stat.S_IMODE(table.stat().st_mode) == 0o600
    rows = pd.read_csv(table, dtype=str, keep_default_na=False).set_index("record_id")
    assert rows.loc[archive.manifest["record_id"], "original"].tolist() == people(source)["record_id"].tolist()
    assert rows.loc[archive.rejected["path"]].sort_values("original").to_numpy().tolist() == [
        ["Erika.Mustermann", "unknown format: '.Mustermann' is none of " + ", ".join(ssl_ecg.records.READERS.names())],
        ["Mustermann1/flat.hea", "flat lead: I, II, III, aVR, aVL, aVF, V1, V2, V3, V4, V5, V6"],
    ]
    before = table.read_bytes(), {p.name: p.read_bytes() for p in (tmp_path / "a").rglob("*") if p.is_file()}
    again = run(source, tmp_path / "a")
    assert (again.accepted, again.skipped) == (0, 4)
    assert (table.read_bytes(), {p.name: p.read_bytes() for p in (tmp_path / "a").rglob("*") if p.is_file()}) == before


def test_labels_of_the_source_find_their_records_at_home_alone(source: Path, tmp_path: Path) -> None:
    archive = run(source, tmp_path / "a").archive
    ids = people(source)["record_id"]
    table = pd.DataFrame({"record_id": ["Mustermann1/flat", *ids], "AF": [0, 1, 0, 1, 0], "ward": list("xabcd")})
    labels = read_labels(table, archive, ["AF"])
    assert labels.rows.tolist() == archive.rows(ids).tolist() == archive.rows(archive.manifest["record_id"]).tolist()
    assert read_columns(table, archive, labels.rows, ["ward"])["ward"].tolist() == list("abcd")
    table_at_home(tmp_path / "a").rename(tmp_path / "kept.csv")
    with pytest.raises(ValueError, match=r"names 5 records that"):
        read_labels(table, open_archive(tmp_path / "a"), ["AF"])
    keyed = table.iloc[1:].assign(record_id=archive.manifest["record_id"].tolist())
    assert read_labels(keyed, open_archive(tmp_path / "a"), ["AF"]).targets[:, 0].tolist() == [1, 0, 1, 0]


def test_a_kill_loses_no_meaning(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = __import__("sys").modules["ssl_ecg.archive.ingest"]
    monkeypatch.setattr(room, "RECORDS_PER_PART", 2)
    run(source, tmp_path / "whole", patients=people(source))
    commit, calls = room._commit, []

    def killed(*arguments):
        commit(*arguments)
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(room, "_commit", killed)
        with pytest.raises(KeyboardInterrupt):
            run(source, tmp_path / "a", patients=people(source))
    with table_at_home(tmp_path / "a").open("a") as file:
        file.write("0123,half a ro")
    run(source, tmp_path / "a", patients=people(source))
    for name in ("archive.json", "manifest.parquet", "rejected.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert table_at_home(tmp_path / "a").read_bytes() == table_at_home(tmp_path / "whole").read_bytes()


def test_salts_that_can_be_guessed_and_how_they_are_given(source: Path, tmp_path: Path, monkeypatch) -> None:
    for salt in ("", "0123456789abcde"):
        with pytest.raises(ValueError, match=r"salt: has \d+ characters and can be guessed; give 16 or more") as caught:
            run(source, tmp_path / "x", salt=salt)
        assert not salt or salt not in str(caught.value)
    (tmp_path / "salt.txt").write_text(f"{SALT}\n")
    file = ssl_ecg.ingest(source, tmp_path / "file", salt_file=tmp_path / "salt.txt", workers=1, progress=False)
    monkeypatch.setenv("SSL_ECG_SALT", SALT)
    environment = ssl_ecg.ingest(source, tmp_path / "env", workers=1, progress=False)
    given = ssl_ecg.ingest(source, tmp_path / "given", salt=SALT, workers=1, progress=False)
    ids = [report.archive.manifest["record_id"].tolist() for report in (file, environment, given)]
    assert ids[0] == ids[1] == ids[2]
    with pytest.raises(ValueError, match="give one of them"):
        ssl_ecg.ingest(source, tmp_path / "x", salt=SALT, salt_file="s", progress=False)
    with pytest.raises(FileNotFoundError, match="salt_file='nowhere'"):
        ssl_ecg.ingest(source, tmp_path / "x", salt_file="nowhere", progress=False)
    monkeypatch.setenv("SSL_ECG_SALT", "short")
    with pytest.raises(ValueError, match="can be guessed"):
        ssl_ecg.ingest(source, tmp_path / "x", progress=False)


def test_the_check_of_the_salt_is_slow() -> None:
    check = id_scheme(SALT.encode()).rpartition(" ")[2]
    made = hashlib.scrypt(SALT.encode(), salt=b"ssl_ecg patient ids", n=2**16, r=8, p=1, maxmem=2**27, dklen=4)
    assert check == made.hex()
    assert id_scheme(None) == "plain"


def test_ages_and_times_without_a_salt_stay() -> None:
    assert [told_age(age, b"x") for age in (None, 0.0, 89.0, 89.5, 90.0, 117.0)] == [None, 0, 89, 90, 90, 90]
    assert told_age(117.0, None) == 117
    first = pd.Timestamp("0001-02-03").to_pydatetime()
    assert told_time(first, "p", b"secret", "shifted") is None
    assert told_time(first, "p", None, "shifted") == first
    assert told_time(None, "p", b"secret", "year") is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_nobody_else_reads_the_table(source: Path, tmp_path: Path) -> None:
    os.umask(0o022)
    run(source, tmp_path / "a")
    assert table_at_home(tmp_path / "a").stat().st_mode & 0o077 == 0
