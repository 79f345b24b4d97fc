"""Label tables and splits by patient."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssl_ecg.archive import ArchiveWriter
from ssl_ecg.labels import (
    LabelTable,
    Splits,
    check_no_leakage,
    last_of_each_patient,
    nested_fractions,
    read_labels,
    require_positives,
    split_by_fold,
    split_by_patient,
)
from ssl_ecg.signals import SignalSettings


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory):
    """Ten records of five patients; one file was rejected."""
    settings = SignalSettings(leads=("I",), duration=1, min_duration=1)
    ids = range(10)
    table = pd.DataFrame(
        {
            "record_id": [f"clinic/r{i}" for i in ids],
            "patient_id": [f"p{i // 2}" for i in ids],
            "source": "clinic",
            "age": 50.0,
            "sex": "male",
            "recorded_at": pd.NaT,
            "original_rate": 100.0,
            "original_duration": 1.0,
            "calibrated": True,
        }
    )
    writer = ArchiveWriter(tmp_path_factory.mktemp("archive"), settings)
    writer.write_part(np.zeros((10, 1, 100), np.float32), table, [("clinic/r1.5.hea", "flat lead: I")])
    return writer.finish()


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
    frame = table(record_id=["clinic/r3", "who", "r9"])
    with pytest.raises(ValueError, match=r"names 2 records that .* does not know: who, r9"):
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
        ({"AF": ["1", "yes", "0"]}, r"column 'AF' .* got 'yes' for clinic/r0"),
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
    for wrong in ("soon", np.inf):
        with pytest.raises(ValueError, match=f"column 'days' .* finite number or blank, got '{wrong}' for clinic/r0"):
            read_labels(table(days=[1, wrong, 2]), archive, ["days"], numbers=True)


def test_splits_follow_the_status_where_targets_are_not_labels() -> None:
    labels = draw(0)
    times = np.random.default_rng(0).uniform(0, 2000, (len(labels), 2)).astype(np.float32)
    other = replace(labels, targets=times, classes=("days", "x"), status=labels.targets, status_names=labels.classes)
    for ours, theirs in zip(vars(split_by_patient(other, 3)).values(), vars(split_by_patient(labels, 3)).values()):
        np.testing.assert_array_equal(ours, theirs)
    train = np.arange(len(labels))
    for fraction, indices in nested_fractions(labels, train, (0.1, 0.5), 3).items():
        np.testing.assert_array_equal(nested_fractions(other, train, (0.1, 0.5), 3)[fraction], indices)
    splits = split_by_patient(labels, 3)
    assert require_positives(other, splits) == require_positives(labels, splits)


def test_bad_arguments(archive, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no column MI"):
        read_labels(table(), archive, classes=["MI"])
    with pytest.raises(ValueError, match="no column record_id, only AF"):
        read_labels(table().drop(columns="record_id"), archive)
    with pytest.raises(ValueError, match="no column of labels"):
        read_labels(table()[["record_id"]], archive)
    with pytest.raises(ValueError, match="unknown must be 'error' or 'skip', got 'drop'"):
        read_labels(table(), archive, unknown="drop")
    with pytest.raises(FileNotFoundError, match=r"l\.csv is not there"):
        read_labels(tmp_path / "l.csv", archive)
    (tmp_path / "l.xlsx").touch()
    with pytest.raises(ValueError, match=r"must be \.csv or \.parquet"):
        read_labels(tmp_path / "l.xlsx", archive)


def draw(seed: int, patients: int = 200, classes: int = 4, rate: float = 0.2) -> LabelTable:
    rng = np.random.default_rng(seed)
    patient = np.sort(rng.integers(0, patients, 2 * patients))
    person = rng.random((patients, classes)) < rate / np.arange(1, classes + 1)
    targets = person[patient].astype(np.float32)
    fold = patient % 10
    return LabelTable(targets, tuple("abcdefgh"[:classes]), np.arange(len(patient)), patient, fold)


@given(st.integers(0, 10_000))
def test_fractions_are_nested_by_patient_and_cover_classes(seed: int) -> None:
    labels = draw(seed)
    train = np.flatnonzero(labels.fold < 7)
    fractions = (0.05, 0.1, 0.25, 1.0)
    drawn = nested_fractions(labels, train, fractions, seed)
    people = len(set(labels.patient[train]))
    inner: set[int] = set()
    for fraction in fractions:
        indices = drawn[fraction]
        here = set(labels.patient[indices])
        assert inner <= here
        assert len(here) == max(1, round(fraction * people))
        # All training records of the drawn patients, and only those.
        np.testing.assert_array_equal(indices, train[np.isin(labels.patient[train], list(here))])
        inner = here
    learnable = (labels.targets[train] == 1).any(axis=0)
    assert (labels.targets[drawn[0.05]] == 1).any(axis=0)[learnable].all()
    np.testing.assert_array_equal(drawn[1.0], train)


@given(st.integers(0, 1000))
def test_prefixes_keep_the_proportions(seed: int) -> None:
    labels = draw(seed, patients=2000, rate=0.3)
    train = np.arange(len(labels))
    people, first = np.unique(labels.patient, return_index=True)
    whole = labels.targets[first].mean(axis=0)
    for fraction, indices in nested_fractions(labels, train, (0.1, 0.5), seed).items():
        here = np.isin(people, labels.patient[indices])
        # A stratum is off by one patient at most, and each of the four put first by one more.
        strata = len(np.unique(labels.targets[first], axis=0))
        allowed = (strata + 4) / (fraction * len(people))
        assert np.abs(labels.targets[first][here].mean(axis=0) - whole).max() < allowed


def test_fractions_depend_on_the_seed_alone() -> None:
    labels = draw(0)
    train = np.arange(len(labels))
    same = [nested_fractions(labels, train, (0.1,), 3)[0.1] for _ in range(2)]
    np.testing.assert_array_equal(*same)
    assert not np.array_equal(same[0], nested_fractions(labels, train, (0.1,), 4)[0.1])


@pytest.mark.parametrize("fractions", [(0.0,), (1.5,), (float("nan"),)])
def test_impossible_fractions(fractions: tuple[float]) -> None:
    with pytest.raises(ValueError, match="fractions must lie above 0 and up to 1"):
        nested_fractions(draw(0), np.arange(3), fractions, 0)
    with pytest.raises(ValueError, match="train_indices must not be empty"):
        nested_fractions(draw(0), np.array([], dtype=int), (0.1,), 0)


def test_split_by_fold() -> None:
    labels = draw(0)
    splits = split_by_fold(labels, validation=(7, 8), test=(9,))
    assert set(labels.fold[splits.train]) == set(range(7))
    assert set(labels.fold[splits.validation]) == {7, 8}
    assert set(labels.fold[splits.test]) == {9}
    assert sum(len(part) for part in vars(splits).values()) == len(labels)
    with pytest.raises(ValueError, match=r"folds \[9\] are in validation and in test"):
        split_by_fold(labels, validation=(9,), test=(9,))
    with pytest.raises(ValueError, match=r"test is empty .*folds 0, 1, 2"):
        split_by_fold(labels, test=(12,))
    without = LabelTable(labels.targets, labels.classes, labels.rows, labels.patient)
    with pytest.raises(ValueError, match="no column fold: use split_by_patient"):
        split_by_fold(without)


@given(st.integers(0, 1000))
def test_split_by_patient_keeps_patients_whole(seed: int) -> None:
    labels = draw(seed)
    splits = split_by_patient(labels, seed)
    check_no_leakage(labels, splits)
    parts = np.concatenate(list(vars(splits).values()))
    np.testing.assert_array_equal(np.sort(parts), np.arange(len(labels)))
    people = {name: len(set(labels.patient[indices])) for name, indices in vars(splits).items()}
    total = sum(people.values())
    assert abs(people["test"] - 0.2 * total) <= 1
    assert abs(people["validation"] - 0.15 * total) <= 1


def test_split_by_patient_refuses_impossible_fractions() -> None:
    with pytest.raises(ValueError, match=r"got 0\.5 and 0\.5"):
        split_by_patient(draw(0), 0, validation=0.5, test=0.5)
    with pytest.raises(ValueError, match="patients are too few"):
        split_by_patient(draw(0, patients=2), 0)


def test_leakage_is_named_by_hash(archive) -> None:
    labels = read_labels(table(record_id=["clinic/r2", "clinic/r3", "clinic/r9"], fold=[1, 8, 9]), archive)
    hashed = hashlib.sha256(b"p1").hexdigest()[:8]
    with pytest.raises(ValueError, match=f"1 patients are in train and in validation .*{hashed}") as caught:
        split_by_fold(labels)
    assert "p1" not in str(caught.value)


def test_classes_that_a_split_lacks() -> None:
    targets = np.array([[1, 0], [0, 1], [1, 0], [0, 0], [1, 0], [0, np.nan]], np.float32)
    labels = LabelTable(targets, ("a", "b"), np.arange(6), np.arange(6))
    splits = Splits(np.array([0, 1]), np.array([2, 3]), np.array([4, 5]))
    assert require_positives(labels, splits) == [
        "validation has no positive record of 1 classes: b",
        "test has no positive record of 1 classes: b",
    ]
    with pytest.raises(ValueError, match=r"no class has both positive and negative records in test \(1 records\)"):
        require_positives(labels, Splits(np.array([0, 1]), np.array([2, 3]), np.array([4])))


def test_last_record_of_a_patient_is_by_date_then_by_place_whatever_its_outcome(
    caplog: pytest.LogCaptureFixture,
) -> None:
    nan, day = np.nan, np.datetime64("2020-01-01", "us")
    rows: list[tuple[int, float, int | None]] = [  # patient, outcome, days after the first
        (0, 0, 9),
        (0, 1, 3),
        (1, 0, 5),
        (1, 1, 5),  # the same day: the later in the table
        (2, 0, 2),
        (2, nan, 8),  # not known, and last all the same
        (3, 1, 1),
        (3, 1, None),  # without a date
        (4, 0, None),
        (4, 0, None),
        (5, nan, 4),
    ]
    patient, outcome, days = (np.array(column, dtype=float) for column in zip(*rows))
    dates = np.array([np.datetime64("NaT") if np.isnan(d) else day + np.timedelta64(int(d), "D") for d in days])
    labels = LabelTable(
        outcome.astype(np.float32)[:, None], ("AF",), np.arange(11), patient.astype(np.int64), recorded_at=dates
    )
    everything = np.arange(11)
    assert last_of_each_patient(labels, everything).tolist() == [0, 3, 5, 6, 9, 10]
    assert "last records of 2 of 6 patients have no known outcome" in caplog.text
    assert last_of_each_patient(labels, everything[::-1]).tolist() == [0, 3, 5, 6, 9, 10]
    assert last_of_each_patient(labels, np.array([1, 2, 10])).tolist() == [1, 2, 10]
    for other in (1 - labels.targets, np.roll(labels.targets, 1), np.full_like(labels.targets, nan)):
        changed = replace(labels, targets=other)
        assert last_of_each_patient(changed, everything).tolist() == [0, 3, 5, 6, 9, 10]
    assert last_of_each_patient(replace(labels, recorded_at=None), everything).tolist() == [1, 3, 5, 7, 9, 10]
    assert last_of_each_patient(labels, everything[:0]).tolist() == []
