"""Label tables as hospitals save them, and record ids as people write them."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd
import pytest

from ssl_ecg.archive import Archive
from ssl_ecg.labels import read_columns, read_labels
from ssl_ecg.labels.table_files import read_table

TABLE = pd.DataFrame({"record_id": ["w/007", "w/NA"], "LVEF": [65.5, 40.25], "Müdigkeit": [1, 0]})


@pytest.fixture(scope="module")
def archive(small_archive, tmp_path_factory: pytest.TempPathFactory) -> Archive:
    ids = ["a/r1", "a/r2", "b/r2", "b/deep/r3"]
    return small_archive(tmp_path_factory.mktemp("archive"), ids, list("pqrs"), [("a/bad.hea", "flat lead: I")])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize(("separator", "decimal"), [(",", "."), (";", ","), (";", "."), ("\t", ".")])
def test_csv_of_any_separator_and_encoding(tmp_path: Path, encoding: str, separator: str, decimal: str) -> None:
    TABLE.to_csv(tmp_path / "t.csv", index=False, sep=separator, decimal=decimal, encoding=encoding)
    pd.testing.assert_frame_equal(read_table(tmp_path / "t.csv"), TABLE, check_dtype=False)


def test_excel(tmp_path: Path) -> None:
    pytest.importorskip("openpyxl", reason="Excel needs the extra [excel]")
    TABLE.to_excel(tmp_path / "t.xlsx", index=False)
    pd.testing.assert_frame_equal(read_table(tmp_path / "t.xlsx"), TABLE, check_dtype=False)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("a\\r1", "a/r1"),
        ("a/r1.hea", "a/r1"),
        ("A:\\export\\a\\r1.XML", "a/r1"),
        ("r1", "a/r1"),
        ("./a/r2", "a/r2"),
        ("deep/r3.dat", "b/deep/r3"),
    ],
)
def test_ids_written_otherwise_are_found(archive: Archive, caplog, written: str, meant: str) -> None:
    frame = pd.DataFrame({"record_id": [written, "a/bad"], "AF": [1, 0]})
    with caplog.at_level(logging.INFO):
        labels = read_labels(frame, archive)
    assert archive.manifest["record_id"].iloc[labels.rows].tolist() == [meant]
    assert f"{written}, for one, is {meant} there" in caplog.text
    assert read_columns(frame, archive, labels.rows, ["AF"])["AF"].tolist() == [1]


@pytest.mark.parametrize(
    ("written", "said"),
    [("r2", r"did you mean a/r2 or b/r2\?"), ("a/r11", r"did you mean a/r1\?"), ("zzz", "they look like a/r1")],
)
def test_what_is_not_unique_is_asked_for(archive: Archive, written: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_labels(pd.DataFrame({"record_id": [written], "AF": [1]}), archive)


def test_two_ways_to_write_one_record_are_twice_the_record(archive: Archive) -> None:
    with pytest.raises(ValueError, match="holds 1 record ids more than once: a/r1"):
        read_labels(pd.DataFrame({"record_id": ["a/r1", "r1.hea"], "AF": [1, 0]}), archive)
