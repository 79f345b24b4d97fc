"""Readers and data sets from outside the package, and what becomes of every file below a source."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ssl_ecg.archive import ArchiveError, ingest
from ssl_ecg.records import LEADS, READERS, Reader, Record, RecordError, read_records, read_wfdb
from ssl_ecg.sources import SOURCES, Entry, Source

pytestmark = pytest.mark.process

room = sys.modules["ssl_ecg.archive.ingest"]


def run(source: Path, archive: Path, **options):
    return ingest(source, archive, **{"workers": 2, "progress": False, **options})


def rejected(report) -> dict[str, str]:
    return dict(report.archive.rejected.itertuples(index=False))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


# A format of many records: an array [records, leads, samples] behind a line of text, as a vendor might write it.
MAGIC = b"many ECGs\n"


def write_many(path: Path, signals: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(MAGIC)
        np.save(file, signals)


def sniff_many(path: Path, head: bytes) -> bool:
    return head.startswith(MAGIC)


def read_many(path: Path) -> Iterator[Record]:
    with path.open("rb") as file:
        file.read(len(MAGIC))
        for i, signal in enumerate(np.load(file)):
            if not signal.any():
                raise RecordError("damaged", "zeros from here on")
            yield Record(signal, 100, LEADS, patient_id=f"p{i // 2}", record_id=str(i))


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(READERS, "_things", dict(READERS._things))
    READERS.register("many", Reader(sniff_many, read_many))


@pytest.fixture
def draw(heartbeat):
    """A function that draws ECGs [n, 12, 1000] at 100 Hz."""
    return lambda n: np.stack([heartbeat(100, seed=i) for i in range(n)])


def test_suffix_in_capitals(tmp_path: Path, heartbeat, write_wfdb) -> None:
    for i, (name, dat) in enumerate([("R9", "R9.DAT"), ("r8", "r8.dat"), ("Q7", "q7.dat")]):
        write_wfdb(tmp_path / "s", name, heartbeat(seed=i))
        (tmp_path / "s" / f"{name}.hea").rename(tmp_path / "s" / f"{name}.{'HEA' if i != 1 else 'hea'}")
        (tmp_path / "s" / f"{name}.dat").rename(tmp_path / "s" / dat)
    np.testing.assert_allclose(read_wfdb(tmp_path / "s" / "R9.HEA").signal, heartbeat(seed=0), atol=6e-4)
    (record,) = read_records(tmp_path / "s" / "R9")
    assert (record.leads, record.record_id) == (LEADS, "")
    report = run(tmp_path / "s", tmp_path / "a")
    assert list(report.archive.manifest["record_id"]) == ["Q7", "R9", "r8"]
    assert not len(report.archive.rejected)


def test_two_readers_share_a_suffix(tmp_path: Path, many, heartbeat, write_wfdb, draw) -> None:
    write_wfdb(tmp_path / "s", "a", heartbeat())
    write_many(tmp_path / "s" / "b.hea", draw(2))
    assert [record.record_id for record in read_records(tmp_path / "s" / "b.hea")] == ["0", "1"]
    assert list(run(tmp_path / "s", tmp_path / "a").archive.manifest["record_id"]) == ["a", "b#0", "b#1"]


def test_where_two_readers_know_a_file_the_first_by_name_reads(tmp_path: Path, many, draw) -> None:
    def read_one(path: Path) -> Iterator[Record]:
        yield Record(draw(1)[0], 100, LEADS)

    READERS.register("another", Reader(sniff_many, read_one))
    write_many(tmp_path / "b.ecg", draw(3))
    assert len(list(read_records(tmp_path / "b.ecg"))) == 1


def test_reader_that_stumbles_costs_nothing(tmp_path: Path, many, draw, caplog) -> None:
    def stumble(path: Path, head: bytes) -> bool:
        raise IndexError("of somebody's library")

    READERS.register("a", Reader(stumble, read_many, stumble))
    write_many(tmp_path / "s" / "b.ecg", draw(2))
    assert run(tmp_path / "s", tmp_path / "a").accepted == 2
    assert "reader a cannot tell whether b.ecg is its own" in caplog.text


def test_files_that_nothing_reads(tmp_path: Path) -> None:
    (tmp_path / "a.xyz").write_text("text")
    with pytest.raises(RecordError, match=r"unknown format: '\.xyz' is none of .*wfdb"):
        read_records(tmp_path / "a.xyz")
    with pytest.raises(RecordError, match="missing file: b"):
        read_records(tmp_path / "b")
    with pytest.raises(RecordError, match="not a regular file"):
        read_records(tmp_path)


@pytest.mark.parametrize("workers", [1, 3])
def test_file_of_many_records(tmp_path: Path, many, draw, workers: int) -> None:
    signals = draw(43)
    signals[7, 3] = 0.5
    write_many(tmp_path / "s" / "ward" / "exams.ecg", signals[:41])
    write_many(tmp_path / "s" / "more.ecg", signals[41:])
    report = run(tmp_path / "s", tmp_path / "a", workers=workers)
    table = report.archive.manifest
    assert list(table["record_id"]) == ["more#0", "more#1", *(f"ward/exams#{i}" for i in range(41) if i != 7)]
    assert rejected(report) == {"ward/exams.ecg#7": "flat lead: aVR"}
    assert table.set_index("record_id").loc["ward/exams#9", "patient_id"] == "s/p4"
    assert report.archive.patient_known.all()
    again = run(tmp_path / "s", tmp_path / "a")
    assert (again.accepted, again.rejected, again.skipped) == (0, 0, 42)
    assert rejected(again) == rejected(report)


def test_damaged_and_empty_files_of_many_records(tmp_path: Path, many, draw) -> None:
    signals = draw(4)
    signals[2] = 0
    write_many(tmp_path / "s" / "a.ecg", signals)
    write_many(tmp_path / "s" / "b.ecg", signals[:0])
    report = run(tmp_path / "s", tmp_path / "a")
    assert list(report.archive.manifest["record_id"]) == ["a#0", "a#1"]
    assert rejected(report) == {
        "a.ecg": "damaged: zeros from here on",
        "b.ecg": "no record: the file holds none",
    }


def test_stopped_in_a_file_of_many_records_goes_on_to_the_same_bytes(
    tmp_path: Path, many, draw, heartbeat, write_wfdb, monkeypatch: pytest.MonkeyPatch
) -> None:
    signals = draw(11)
    signals[[1, 6], 3] = 0.5
    write_many(tmp_path / "s" / "b.ecg", signals)
    (tmp_path / "s" / "b.txt").write_text("notes")
    for seed, name in enumerate(("a", "c")):
        write_wfdb(tmp_path / "s", name, heartbeat(100, seed=seed), 100)
    monkeypatch.setattr(room, "RECORDS_PER_PART", 4)
    run(tmp_path / "s", tmp_path / "whole")
    fsync = os.fsync

    def full(file: int) -> None:
        if (tmp_path / "a" / "journal" / "00001.json").exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(file)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            run(tmp_path / "s", tmp_path / "a")
    report = run(tmp_path / "s", tmp_path / "a")
    assert (report.accepted, report.rejected, report.unknown) == (11, 2, 1)
    assert contents(tmp_path / "a") == contents(tmp_path / "whole")


def test_record_ids_that_clash(tmp_path: Path, many, draw, heartbeat, write_wfdb) -> None:
    write_wfdb(tmp_path / "s", "x", heartbeat(100), 100).with_suffix(".hea").rename(tmp_path / "s" / "a#1.hea")
    write_many(tmp_path / "s" / "a.ecg", draw(3))
    report = run(tmp_path / "s", tmp_path / "a")
    assert list(report.archive.manifest["record_id"]) == ["a#1", "a#0", "a#2"]
    assert rejected(report) == {"a.ecg#1": "duplicate record id: a#1"}


def test_every_file_is_accounted_for(tmp_path: Path, heartbeat, write_wfdb) -> None:
    source, known = tmp_path / "s", ", ".join(READERS.names())
    write_wfdb(source / "ward", "good", heartbeat())
    write_wfdb(source / "ward", "flat", np.zeros((12, 5000)))
    (source / "ward" / "good.atr").write_bytes(b"annotations")
    (source / "ward" / "broken.dat").write_bytes(b"without a header")
    (source / "scan.PDF").write_bytes(b"%PDF")
    (source / 'a, b "c" d.txt').write_text("")
    (source / "no_suffix").write_text("")
    os.mkfifo(source / "pipe.hea")
    os.mkfifo(source / "ludb.csv")
    os.mkfifo(source / "ward" / "ptbxl_database.csv")
    (source / "nowhere.hea").symlink_to(source / "gone.hea")
    (source / "linked").symlink_to(source / "ward")
    (source / "line\nbreak.hea").write_text("")
    Path(os.fsdecode(os.fsencode(source) + b"/\xff.hea")).write_text("")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(source / "socket.hea"))
    report = run(source, tmp_path / "s" / "a")
    assert list(report.archive.manifest["record_id"]) == ["ward/good"]
    expected = {
        'a, b "c" d.txt': f"unknown format: '.txt' is none of {known}",
        "line\\nbreak.hea": "file name: holds control characters or is not UTF-8, rename it",
        "linked": "not a regular file: a link to a folder, which is not followed",
        "ludb.csv": "not a regular file",
        "no_suffix": f"unknown format: 'no_suffix' is none of {known}",
        "nowhere.hea": "not a regular file: No such file or directory",
        "pipe.hea": "not a regular file",
        "scan.PDF": f"unknown format: '.PDF' is none of {known}",
        "socket.hea": "not a regular file",
        "ward/broken.dat": f"unknown format: '.dat' is none of {known}",
        "ward/flat.hea": "flat lead: I, II, III, aVR, aVL, aVF, V1, V2, V3, V4, V5, V6",
        "ward/ptbxl_database.csv": "not a regular file",
        "\\udcff.hea": "file name: holds control characters or is not UTF-8, rename it",
    }
    assert rejected(report) == expected
    assert (report.accepted, report.rejected, report.unknown) == (1, 9, 4)
    assert "1 records accepted, 9 rejected, 4 files of unknown format" in report.summary[0]
    before = contents(tmp_path / "s" / "a")
    assert run(source, tmp_path / "s" / "a").skipped == 1
    assert contents(tmp_path / "s" / "a") == before
    write_wfdb(source / "ward", "broken", heartbeat(seed=1))  # now the samples are part of a recording
    assert "ward/broken.dat" not in rejected(run(source, tmp_path / "s" / "a"))


def test_folder_that_cannot_be_looked_into(tmp_path: Path, heartbeat, write_wfdb, monkeypatch) -> None:
    write_wfdb(tmp_path / "s", "a", heartbeat())
    (tmp_path / "s" / "closed").mkdir()
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert rejected(run(tmp_path / "s", tmp_path / "a")) == {"closed": "unreadable: Permission denied"}


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00garbage", b"ID,Rhythms\nx,Sinus rhythm\n", b"ID\n1\n"])
def test_garbage_table_costs_its_labels_only(tmp_path: Path, heartbeat, write_wfdb, caplog, content: bytes) -> None:
    write_wfdb(tmp_path / "s" / "data", "1", heartbeat())
    (tmp_path / "s" / "ludb.csv").write_bytes(content)
    report = run(tmp_path / "s", tmp_path / "a")
    assert (report.accepted, report.rejected, report.reasons) == (1, 1, {"broken table": 1})
    assert rejected(report)["ludb.csv"].startswith("broken table: ")
    assert "ludb.csv: broken table" in caplog.text
    assert not (tmp_path / "a" / "labels").exists()


def detect(folder: Path, files: frozenset[str]) -> bool:
    return "exams.csv" in files


def records(folder: Path) -> Iterator[Entry]:
    for row in pd.read_csv(folder / "exams.csv", dtype=str).to_dict("records"):
        yield Entry("all.ecg", row["patient"], float(row["age"]), "female", datetime(2020, 1, 2), row["exam"])


def labels(folder: Path) -> dict[str, pd.DataFrame]:
    table = pd.read_csv(folder / "exams.csv", dtype=str)
    return {"exams": pd.DataFrame({"record_id": "all#" + table["exam"], "AF": [1, 0]})}


@pytest.fixture
def exams(tmp_path: Path, many, draw, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set that says whose the records inside a file are."""
    monkeypatch.setattr(SOURCES, "_things", dict(SOURCES._things))
    SOURCES.register("exams", Source(detect, records, labels, tables=("exams.csv",)))
    write_many(tmp_path / "s" / "exams" / "all.ecg", draw(3))
    write_many(tmp_path / "s" / "exams" / "sub" / "other.ecg", draw(1))
    (tmp_path / "s" / "exams" / "exams.csv").write_text("exam,patient,age\n0,7,50\n2,8,60\n")
    return tmp_path / "s"


def test_source_from_outside(exams: Path, tmp_path: Path) -> None:
    report = run(exams, tmp_path / "a")
    table = report.archive.manifest
    assert list(table["record_id"]) == ["exams/all#0", "exams/all#2"]
    assert list(table["patient_id"]) == ["exams/7", "exams/8"]
    assert list(table["age"]) == [50, 60]
    assert list(table["recorded_at"].dt.year) == [2020, 2020]
    assert set(table["source"]) == {"s/exams"}
    assert rejected(report) == {
        "exams/all.ecg#1": "not listed: exams/all#1 is no record that the data set names",
        "exams/sub/other.ecg": "not listed: exams does not name this recording",
    }
    made = pd.read_csv(tmp_path / "a" / "labels" / "exams.csv")
    assert made.to_numpy().tolist() == [["exams/all#0", 1], ["exams/all#2", 0]]


def test_source_that_fails_costs_its_records_only(exams: Path, tmp_path: Path, heartbeat, write_wfdb) -> None:
    (exams / "exams" / "exams.csv").write_text("exam\n1\n")
    write_wfdb(exams / "own", "a", heartbeat())
    report = run(exams, tmp_path / "a")
    assert list(report.archive.manifest["record_id"]) == ["own/a"]
    assert rejected(report)["exams/exams.csv"] == "broken table: exams cannot read it (KeyError)"
    assert rejected(report)["exams/all.ecg"] == "broken table: exams cannot say whose this recording is"


def test_hostile_list_reaches_nothing_outside(exams: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delitem(SOURCES._things, "exams")
    outside = [Entry("../../secret.ecg"), Entry("/etc/passwd"), Entry("exams.csv")]
    SOURCES.register("exams", Source(detect, lambda folder: outside))
    (tmp_path / "secret.ecg").write_bytes((exams / "exams" / "all.ecg").read_bytes())
    with pytest.raises(ArchiveError, match="no record"):
        run(exams, tmp_path / "a")
    told = "its recording 1 lies outside of its folder, which is never left (2 such recordings)"
    assert told in (tmp_path / "a" / "rejected.csv").read_text()
