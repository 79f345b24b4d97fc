"""Zip folders: every file in them is accounted for, and none can do harm."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import vendor_files as make

import ssl_ecg
from ssl_ecg.records import LEADS, RecordError, read_records


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def test_records_are_named_by_their_files(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.stack([np.stack(list(make.integers(seed=s).values())) for s in (1, 2)]))
    description = f"array: a.npy\nleads: [{', '.join(LEADS)}]\nsampling_rate: 500\nunit: 5 uV\n"
    path = zipped(
        tmp_path / "more.zip",
        {
            "ward/x.xml": make.muse(make.integers()),
            "a.npy": (tmp_path / "a.npy").read_bytes(),
            "a.yaml": description.encode(),
        },
    )
    records = list(read_records(path))
    assert [record.record_id for record in records] == ["a#0", "a#1", "ward/x"]
    assert np.allclose(records[0].signal, np.stack(list(make.integers(seed=1).values())) * 0.005, atol=1e-6)


def test_a_broken_file_costs_the_others_nothing(tmp_path: Path) -> None:
    files = {"a.xml": make.muse(make.integers(), flip="V6"), "b.xml": make.muse(make.integers()), "c.txt": b"x"}
    records = read_records(zipped(tmp_path / "a.zip", files))
    assert next(records).record_id == "b"
    with pytest.raises(RecordError, match=r"checksum: a\.xml: .* \(2 such records\)"):
        next(records)


def test_ingest_accounts_for_every_file_inside(tmp_path: Path, heartbeat, write_wfdb) -> None:
    write_wfdb(tmp_path / "one", "a", heartbeat())
    inside = {f"deep/{file.name}": file.read_bytes() for file in (tmp_path / "one").iterdir()}
    source = tmp_path / "source"
    source.mkdir()
    zipped(source / "more.zip", inside | {"notes.txt": b"x", "broken.xml": b"<RestingECG>", "in.zip": b"PK\x03\x04"})
    report = ssl_ecg.ingest(source, tmp_path / "archive", progress=False, workers=1)
    assert list(report.archive.manifest["record_id"]) == ["more#deep/a"]
    reasons = dict(report.archive.rejected.itertuples(index=False))
    assert reasons["more.zip#broken.xml"].startswith("XML: is not well-formed")
    assert reasons["more.zip#in.zip"].startswith("zip inside zip")
    assert (report.accepted, report.rejected, report.unknown) == (1, 2, 1)


@pytest.mark.parametrize(
    "name", ["../out.xml", "/tmp/out.xml", "a/../../out.xml", "C:\\out.xml", "..\\out.xml", "a\nb.xml"]
)
def test_names_that_lead_outside(tmp_path: Path, name) -> None:
    (tmp_path / "in").mkdir()
    path = zipped(tmp_path / "in" / "a.zip", {"x.xml": make.muse(make.integers(100))})
    content = path.read_bytes()
    with zipfile.ZipFile(path, "w") as archive:
        entry = zipfile.ZipInfo("x")
        entry.filename = name
        archive.writestr(entry, make.muse(make.integers(100)))
    assert path.read_bytes() != content
    with pytest.raises(RecordError, match="file name"):
        list(read_records(path))
    assert not (tmp_path / "out.xml").exists()


def test_links_are_not_followed(tmp_path: Path) -> None:
    entry = zipfile.ZipInfo("a.xml")
    entry.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(RecordError, match="not a regular file"):
        list(read_records(tmp_path / "a.zip"))


def test_bombs(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.dat", "w") as file:
        for _ in range(100):
            file.write(bytes(2**20))
    with pytest.raises(RecordError, match="zip bomb"):
        list(read_records(tmp_path / "a.zip"))


def test_a_size_that_is_a_lie(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"a.dat": bytes(10**6)})
    path.write_bytes(path.read_bytes().replace((10**6).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises(RecordError, match="unreadable"):
        list(read_records(path))


@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
def test_truncated(tmp_path: Path, keep) -> None:
    path = zipped(tmp_path / "a.zip", {"a.xml": make.muse(make.integers(100))})
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(RecordError, match="unreadable"):
        list(read_records(path))
