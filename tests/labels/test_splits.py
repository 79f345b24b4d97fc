"""Splits by patient, and fractions of the patients that train."""

from __future__ import annotations

import hashlib
import hmac
import logging
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssl_ecg.archive.patient_ids import archived_id
from ssl_ecg.labels import (
    LabelTable,
    Splits,
    SplitSettings,
    check_no_leakage,
    last_of_each_patient,
    nested_fractions,
    require_positives,
    split_by_fold,
    split_by_patient,
)


def draw(seed: int, patients: int = 200, classes: int = 4, rate: float = 0.2) -> LabelTable:
    rng = np.random.default_rng(seed)
    patient = np.sort(rng.integers(0, patients, 2 * patients))
    person = rng.random((patients, classes)) < rate / np.arange(1, classes + 1)
    targets = person[patient].astype(np.float32)
    fold = patient % 10
    ids = np.array([f"clinic/{number}" for number in patient], dtype=object)
    return LabelTable(targets, tuple("abcdefgh"[:classes]), np.arange(len(patient)), patient, ids, fold)


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
    assert sum(len(part) for part in splits.parts.values()) == len(labels)
    with pytest.raises(ValueError, match=r"test_folds=\(9,\): validation_folds has \[9\] too"):
        SplitSettings(validation_folds=(9,), test_folds=(9,))
    with pytest.raises(ValueError, match=r"test_folds=\(12,\): test is empty; choose from the table's folds 0, 1, 2"):
        split_by_fold(labels, validation=(8,), test=(12,))
    with pytest.raises(ValueError, match=r"test_folds=\(9,\): the label table has no column fold"):
        split_by_fold(replace(labels, fold=None), validation=(8,), test=(9,))


def part_of(labels: LabelTable, splits: Splits) -> dict[str, str]:
    """Return the part of each patient by id."""
    return {patient: name for name, index in splits.parts.items() for patient in labels.patient_id[index]}


def taken(labels: LabelTable, index: np.ndarray, targets: np.ndarray) -> LabelTable:
    """Return some rows of a table, in another order, with other labels."""
    arrays = {name: getattr(labels, name)[index] for name in ("rows", "patient", "patient_id", "fold")}
    return replace(labels, targets=targets[index], **arrays)


@given(st.integers(0, 1000))
def test_drawn_splits_keep_patients_whole(seed: int) -> None:
    labels = draw(seed)
    splits = SplitSettings(seed=seed).split(labels)
    check_no_leakage(labels, splits)
    np.testing.assert_array_equal(np.sort(np.concatenate(list(splits.parts.values()))), np.arange(len(labels)))
    assert len(part_of(labels, splits)) == len(set(labels.patient))


@pytest.mark.slow
@given(st.data(), st.integers(0, 1000))
def test_corrected_dropped_and_added_labels_move_nobody(data: st.DataObject, seed: int) -> None:
    labels = draw(seed)
    before = part_of(labels, split_by_patient(labels, "key", 0.15, 0.2))
    targets = labels.targets.copy()
    changed = data.draw(st.lists(st.integers(0, targets.size - 1), min_size=1))
    targets.flat[changed] = data.draw(st.sampled_from([0, 1, np.nan]))
    index = np.array(data.draw(st.permutations(range(len(labels)))))[data.draw(st.integers(0, 100)) :]
    other = taken(labels, index, targets)
    after = part_of(other, split_by_patient(other, "key", 0.15, 0.2))
    assert after == {patient: before[patient] for patient in other.patient_id}  # and read backwards: rows added


def test_a_part_is_told_by_the_keyed_hash_of_the_id() -> None:
    labels = draw(0)
    parts = part_of(labels, SplitSettings(seed=7, validation=0.3, test=0.25).split(labels))
    for patient, part in parts.items():
        digest = hmac.new(b"ssl_ecg split 7", patient.encode(), hashlib.sha256).hexdigest()
        share = int(digest[:16], 16) / 16**16
        assert part == ("test" if share < 0.25 else "validation" if share < 0.55 else "train")


@pytest.mark.parametrize("stratify", [False, True])
def test_shares_are_near_those_asked_for(stratify: bool) -> None:
    labels = draw(1, patients=5000)
    splits = SplitSettings(validation=0.1, test=0.3, stratify=stratify).split(labels)
    total = len(set(labels.patient))
    for name, share in (("validation", 0.1), ("test", 0.3), ("train", 0.6)):
        people = len(set(labels.patient[splits.parts[name]]))
        assert abs(people / total - share) < 4 * np.sqrt(share * (1 - share) / total)


def test_another_seed_or_key_draws_others_and_a_larger_share_keeps_those_drawn() -> None:
    labels = draw(0)
    draws = [SplitSettings(**given).split(labels) for given in ({}, {"seed": 1}, {"key": "mine"})]
    assert len({tuple(splits.test) for splits in draws}) == 3
    assert [splits.how["key"] for splits in draws] == ["ssl_ecg split 0", "ssl_ecg split 1", "mine"]
    assert set(draws[0].test) < set(SplitSettings(test=0.4).split(labels).test)
    np.testing.assert_array_equal(SplitSettings(seed=5, key="mine").split(labels).test, draws[2].test)


def test_salted_ids_draw_as_well_and_apart_from_plain_ones() -> None:
    labels = draw(0)
    salted = replace(labels, patient_id=np.array([archived_id(i, b"salt") for i in labels.patient_id], dtype=object))
    plain, hidden = (SplitSettings().split(table) for table in (labels, salted))
    check_no_leakage(salted, hidden)
    assert not np.array_equal(plain.test, hidden.test)
    people = len(set(labels.patient[hidden.test])) / len(set(labels.patient))
    assert abs(people - 0.2) < 0.12


def test_stratified_draws_resemble_the_whole_and_lack_no_class() -> None:
    """A class of six patients is missing from a part in most draws, and from none of the chosen ones."""
    labels = draw(3, classes=2)
    targets = np.column_stack([labels.targets, labels.patient < 6]).astype(np.float32)
    labels = replace(labels, targets=targets, classes=("a", "b", "rare"))

    def unevenness(splits: Splits) -> float:
        parts = [labels.targets[index].mean(axis=0) for index in splits.parts.values()]
        return float(np.abs(parts - labels.targets.mean(axis=0)).max())

    lacked, plain, even = [], [], []
    for seed in range(10):
        drawn = SplitSettings(seed=seed).split(labels)
        chosen = SplitSettings(seed=seed, stratify=True).split(labels)
        lacked.append(bool(require_positives(labels, drawn)))
        assert not require_positives(labels, chosen)
        plain.append(unevenness(drawn))
        even.append(unevenness(chosen))
    assert any(lacked)
    assert max(even) < np.median(plain)


def test_a_kept_key_draws_after_labels_changed() -> None:
    labels = draw(0)
    settings = SplitSettings(stratify=True)
    before = settings.split(labels)
    changed = replace(labels, targets=np.roll(labels.targets, 7, axis=0))
    assert settings.split(changed).how["key"] != before.how["key"]  # what keeping it is for
    kept = settings.split(changed, before.how)
    assert part_of(changed, kept) == part_of(labels, before)
    assert kept.how == before.how
    assert settings.split(changed, {}).how["key"] != before.how["key"]
    assert SplitSettings(seed=1).split(changed, before.how).how["key"] == "ssl_ecg split 1"  # asked for by its number
    assert SplitSettings(key="mine").split(changed, before.how).how["key"] == "mine"
    assert (
        SplitSettings()
        .split(labels, SplitSettings(validation_folds=(8,), test_folds=(9,)).split(labels).how)
        .how["key"]
        == "ssl_ecg split 0"
    )


def test_what_is_kept_makes_the_same_split_again() -> None:
    labels = draw(0)
    for settings in (SplitSettings(stratify=True), SplitSettings(validation_folds=(8,), test_folds=(9,))):
        splits = settings.split(labels)
        again = SplitSettings(**splits.how).split(labels)
        np.testing.assert_array_equal(again.test, splits.test)
        assert again.how == splits.how


def test_unknown_patients_are_refused_unless_told(caplog: pytest.LogCaptureFixture) -> None:
    labels = replace(draw(0), patients_unknown=42)
    with pytest.raises(ValueError, match=r"split\.patients='known': the patients of 42 of 400 records are") as told:
        SplitSettings().split(labels)
    assert "patients=TABLE" in str(told.value)
    assert "split.patients=unknown" in str(told.value)
    for settings in (SplitSettings(patients="unknown"), SplitSettings(validation_folds=(8,), test_folds=(9,))):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            settings.split(labels)
        assert "patients unknown for 42 of 400 records: records are counted" in caplog.text


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"validation": 0.5, "test": 0.5}, r"validation=0\.5, test=0\.5: nobody is left to train on"),
        ({"validation": 0.0}, r"validation=0\.0"),
        ({"test_folds": (9,)}, "only one is given; name both, or neither"),
        ({"records": "first"}, "records='first'"),
        ({"patients": "some"}, "patients='some'"),
        ({"sede": 1}, "sede=1: there is no such setting; .*seed"),
    ],
)
def test_impossible_settings_are_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SplitSettings(**given)


def test_too_few_patients_are_refused() -> None:
    with pytest.raises(ValueError, match=r"validation=0\.15, test=0\.2: nobody of .* patients is in"):
        SplitSettings().split(draw(0, patients=2))


def test_classes_that_a_split_lacks() -> None:
    targets = np.array([[1, 0], [0, 1], [1, 0], [0, 0], [1, 0], [0, np.nan]], np.float32)
    labels = LabelTable(targets, ("a", "b"), np.arange(6), np.arange(6), np.arange(6).astype(object))
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
        outcome.astype(np.float32)[:, None],
        ("AF",),
        np.arange(11),
        patient.astype(np.int64),
        patient.astype(object),
        recorded_at=dates,
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


def test_splits_follow_the_status_where_targets_are_not_labels() -> None:
    labels = draw(0)
    times = np.random.default_rng(0).uniform(0, 2000, (len(labels), 2)).astype(np.float32)
    other = replace(labels, targets=times, classes=("days", "x"), status=labels.targets, status_names=labels.classes)
    splits = SplitSettings(seed=3, stratify=True).split(labels)
    assert splits.how == SplitSettings(seed=3, stratify=True).split(other).how
    train = np.arange(len(labels))
    for fraction, indices in nested_fractions(labels, train, (0.1, 0.5), 3).items():
        np.testing.assert_array_equal(nested_fractions(other, train, (0.1, 0.5), 3)[fraction], indices)
    assert require_positives(other, splits) == require_positives(labels, splits)
