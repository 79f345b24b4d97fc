"""Label tables."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ssl_ecg.archive import Archive
from ssl_ecg.labels import read_labels, split_by_fold
from ssl_ecg.labels.table_files import read_table


@pytest.fixture(scope="module")
def archive(small_archive, tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """Ten records of five patients; one file was rejected."""
    ids, patients = [f"clinic/r{i}" for i in range(10)], [f"p{i // 2}" for i in range(10)]
    return small_archive(tmp_path_factory.mktemp("archive"), ids, patients, [("clinic/r1.5.hea", "flat lead: I")])


def table(**columns: object) -> pd.DataFrame:
    return pd.DataFrame({"record_id": ["clinic/r3", "clinic/r0", "clinic/r9"], "AF": [1, 0, 1], **columns})


def test_reads_targets_rows_patients_and_folds(archive, tmp_path: Path) -> None:
    frame = table(MI=[None, 1, 0], fold=[1, 8, 9])
    frame.to_csv(tmp_path / "l.csv", index=False)
    frame.to_parquet(tmp_path / "l.parquet")
    for source in (frame, tmp_path / "l.csv", tmp_path / "l.parquet"):
        labels = read_labels(source, archive)
        assert labels.classes == ("AF", "MI")
        np.testing.assert_array_equal(labels.targets, np.array([[1, np.nan], [0, 1], [1, 0]], np.float32))
        assert labels.rows.tolist() == [3, 0, 9]
        assert labels.patient.tolist() == [1, 0, 4]
        assert labels.fold.tolist() == [1, 8, 9]
    assert read_labels(frame, archive, classes=["MI"]).targets.shape == (3, 1)


def test_rejected_records_are_left_out_and_logged(archive, caplog) -> None:
    frame = table(record_id=["clinic/r3", "clinic/r1.5", "clinic/r9"])
    with caplog.at_level(logging.WARNING):
        labels = read_labels(frame, archive)
    assert labels.rows.tolist() == [3, 9]
    assert labels.targets[:, 0].tolist() == [1, 1]
    assert "left out 1 records that ingest rejected and 0 unknown" in caplog.text


def test_unknown_records_are_named_or_skipped(archive, caplog) -> None:
    frame = table(record_id=["clinic/r3", "who", "clinc/r99"])
    with pytest.raises(
        ValueError, match=r"names 2 records that .* does not know: who, clinc/r99; .*look like clinic/r0"
    ):
        read_labels(frame, archive)
    with caplog.at_level(logging.WARNING):
        assert len(read_labels(frame, archive, unknown="skip")) == 1
    assert "2 unknown" in caplog.text
    with pytest.raises(ValueError, match="none of the 3 records"):
        read_labels(table(record_id=["a", "b", "c"]), archive, unknown="skip")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"AF": [1, 2, 0]}, r"column 'AF' .* must hold 1, 0 or blank, got '2' for clinic/r0"),
        ({"AF": ["1", "yes", "0"]}, r"column 'AF' .* got text for clinic/r0 in line 3"),
        ({"AF": [0.5, 1, 0]}, r"column 'AF' .* got '0\.5' for clinic/r3"),
        ({"record_id": ["clinic/r3"] * 3}, "holds 1 record ids more than once: clinic/r3"),
        ({"fold": [1, None, 2]}, "'fold' .* whole numbers"),
    ],
)
def test_bad_tables(archive, change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_labels(table(**change), archive)


def test_numbers_are_read_where_a_task_wants_them(archive) -> None:
    frame = table(days=[1825.5, None, -3])
    labels = read_labels(frame, archive, ["days", "AF"], numbers=True)
    np.testing.assert_array_equal(labels.targets, np.array([[1825.5, 1], [np.nan, 0], [-3, 1]], np.float32))
    for wrong, got in (("soon", "text"), (np.inf, "'inf'")):
        with pytest.raises(ValueError, match=f"column 'days' .* finite number or blank, got {got} for clinic/r0"):
            read_labels(table(days=[1, wrong, 2]), archive, ["days"], numbers=True)


def test_bad_arguments(archive, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no column MI"):
        read_labels(table(), archive, classes=["MI"])
    with pytest.raises(ValueError, match="no column record_id, only AF"):
        read_labels(table().drop(columns="record_id"), archive)
    with pytest.raises(ValueError, match="no column of labels"):
        read_labels(table()[["record_id"]], archive)
    with pytest.raises(ValueError, match="unknown='drop': there is no such way; choose 'error' or 'skip'"):
        read_labels(table(), archive, unknown="drop")
    with pytest.raises(FileNotFoundError, match=r"l\.csv: there is no such table"):
        read_labels(tmp_path / "l.csv", archive)
    (tmp_path / "l.ods").touch()
    with pytest.raises(ValueError, match=r"give \.csv, \.tsv, \.xlsx or \.parquet"):
        read_labels(tmp_path / "l.ods", archive)
    (tmp_path / "l.xlsx").touch()
    with pytest.raises(ValueError, match=r"no Excel file that can be read .* save as CSV"):
        read_labels(tmp_path / "l.xlsx", archive)


def test_leakage_is_named_by_hash(archive) -> None:
    labels = read_labels(table(record_id=["clinic/r2", "clinic/r3", "clinic/r9"], fold=[1, 8, 9]), archive)
    hashed = hashlib.sha256(b"p1").hexdigest()[:8]
    with pytest.raises(ValueError, match=f"1 patients are in train and in validation .*{hashed}") as caught:
        split_by_fold(labels, validation=(8,), test=(9,))
    assert "p1" not in str(caught.value)


@pytest.mark.parametrize("name", ["NA", "null", "", "007"])
def test_ids_that_read_like_blanks_or_numbers_are_ids(small_archive, tmp_path: Path, name: str) -> None:
    archive = small_archive(tmp_path / "archive", [name, "b"], ["NA", "null"])
    (tmp_path / "l.csv").write_text(f"patient_id,record_id,AF\nNA,{name},1\nnull,b,\n")
    labels = read_labels(tmp_path / "l.csv", archive, ["AF"])
    assert labels.rows.tolist() == [0, 1]
    np.testing.assert_array_equal(labels.targets[:, 0], [1, np.nan])
    assert read_table(tmp_path / "l.csv")["patient_id"].tolist() == labels.patient_id.tolist() == ["NA", "null"]


def test_records_of_unknown_patients_are_counted(small_archive, tmp_path: Path) -> None:
    archive = small_archive(tmp_path, ["a", "b", "c"], ["p", "b", "c"], patient_known=[True, False, False])
    frame = pd.DataFrame({"record_id": ["a", "c"], "AF": [1, 0]})
    assert read_labels(frame, archive).patients_unknown == 1
    assert read_labels(frame[:1], archive).patients_unknown == 0
