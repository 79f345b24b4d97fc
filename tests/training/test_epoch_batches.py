from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_ecg.archive import Archive
from ssl_ecg.training.batches import ArchiveBatches, EpochBatches, OnePerPatient, batch_loader, in_millivolts


def drawn(batches: EpochBatches, epoch: int = 0) -> list[list[int]]:
    batches.set_epoch(epoch)
    return [batch.tolist() for batch in batches]


def joined(batches: Iterable[list[int]]) -> list[int]:
    return [example for batch in batches for example in batch]


@given(count=st.integers(1, 200), batch_size=st.integers(1, 64), seed=st.integers(0, 2**31), epoch=st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_an_epoch_holds_every_example_once_in_full_batches(count: int, batch_size: int, seed: int, epoch: int) -> None:
    batches = EpochBatches(count, batch_size, seed)
    chosen = drawn(batches, epoch)
    size = min(batch_size, count)
    assert len(chosen) == len(batches) == count // size
    assert {len(batch) for batch in chosen} == {size}
    together = joined(chosen)
    assert len(set(together)) == len(together)
    assert set(together) <= set(range(count))
    assert count - len(together) < size  # only what does not fill a batch is left out
    assert drawn(EpochBatches(count, batch_size, seed), epoch) == chosen


def test_every_example_comes_once_an_epoch_where_batches_divide_it() -> None:
    chosen = drawn(EpochBatches(60, 12, seed=1), epoch=4)
    assert sorted(joined(chosen)) == list(range(60))


def test_epochs_and_seeds_differ_in_order() -> None:
    batches = EpochBatches(60, 12, seed=1)
    orders = [drawn(batches, epoch) for epoch in range(4)] + [drawn(EpochBatches(60, 12, seed=2))]
    assert all(one != other for i, one in enumerate(orders) for other in orders[:i])
    assert drawn(batches, 2) == orders[2]


@pytest.mark.parametrize("seed", [7, None])
@pytest.mark.parametrize(("count", "world"), [(64, 2), (61, 2), (50, 4), (5, 4)])
def test_processes_share_every_batch_in_disjoint_equal_parts(count: int, world: int, seed: int | None) -> None:
    batches = [EpochBatches(count, 16, seed, rank, world) for rank in range(world)]
    parts = [drawn(each, epoch=3) for each in batches]
    assert len({len(part) for part in parts}) == 1
    assert len(parts[0]) == len(batches[0])
    for shares in zip(*parts, strict=True):
        assert len({len(share) for share in shares}) == 1
        assert len(shares[0]) > 0
        assert len(set(joined(shares))) == len(joined(shares))
    seen = joined(joined(part) for part in parts)
    assert len(seen) == len(set(seen))
    if seed is None:
        assert len(seen) > count - world
    else:
        alone = drawn(EpochBatches(count, 16, seed), epoch=3)
        for shares, whole in zip(zip(*parts, strict=True), alone, strict=True):
            assert set(joined(shares)) <= set(whole)


@given(count=st.integers(1, 100), batch_size=st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_evaluation_reads_all_in_order(count: int, batch_size: int) -> None:
    chosen = drawn(EpochBatches(count, batch_size, None))
    assert joined(chosen) == list(range(count))
    assert all(len(batch) <= batch_size for batch in chosen)


# Patient 0 has 1 record, patient 1 has 2 and so on: 45 records of 9 patients.
VISITS = np.repeat(np.arange(9), np.arange(1, 10))


@given(size=st.integers(1, 6), batch_size=st.integers(6, 50), seed=st.integers(0, 2**31), epoch=st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_patients_come_in_groups_and_every_example_once(size: int, batch_size: int, seed: int, epoch: int) -> None:
    chosen = drawn(EpochBatches(45, batch_size, seed, patient=VISITS, per_patient=size), epoch)
    assert {len(batch) for batch in chosen} == {min(batch_size, 45)}
    together = joined(chosen)
    assert len(set(together)) == len(together) > 45 - batch_size
    # Reading the epoch record by record: runs of a patient, cut into groups, are whole groups and one rest at most.
    whole = joined(drawn(EpochBatches(45, 45, seed, patient=VISITS, per_patient=size), epoch))
    assert sorted(whole) == list(range(45))
    patients = VISITS[whole]
    runs = np.split(patients, np.flatnonzero(np.diff(patients)) + 1)
    rests: dict[int, int] = {}
    for run in runs:
        rests[run[0]] = rests.get(run[0], 0) + (len(run) % size > 0)
    assert max(rests.values()) <= 1
    assert drawn(EpochBatches(45, batch_size, seed, patient=VISITS, per_patient=size), epoch) == chosen


def share_of_meetings(batches: EpochBatches, patient: np.ndarray) -> float:
    """Share of the examples of five epochs that meet another example of their patient in the batch."""
    met = []
    for epoch in range(5):
        for batch in drawn(batches, epoch):
            _, which, count = np.unique(patient[batch], return_inverse=True, return_counts=True)
            met += (count[which] > 1).tolist()
    return float(np.mean(met))


def test_visits_of_a_patient_meet() -> None:
    patient = np.arange(400) // 2  # 200 patients with two visits each
    assert share_of_meetings(EpochBatches(400, 16, seed=1), patient) < 0.1
    assert share_of_meetings(EpochBatches(400, 16, seed=1, patient=patient, per_patient=2), patient) == 1


def test_who_is_grouped_with_whom_changes_and_rests_are_shared_out() -> None:
    patient = np.arange(300) // 3  # three visits: two of them meet in a group of two
    batches = EpochBatches(300, 20, seed=2, patient=patient, per_patient=2)
    times = np.zeros(300, int)
    for epoch in range(60):
        order = np.array(joined(drawn(batches, epoch)))
        assert len(order) == 300
        runs = np.split(order, np.flatnonzero(np.diff(patient[order])) + 1)
        times[np.concatenate([run for run in runs if len(run) == 1])] += 1
    # Every visit is left alone in a third of the epochs, less where its group happens to be beside it.
    assert 5 < times.min() < times.max() < 35
    assert times.mean() == pytest.approx(20, abs=1)


def test_groups_are_shared_by_the_processes_of_a_batch() -> None:
    parts = [drawn(EpochBatches(45, 12, 3, rank, 2, VISITS, 3), epoch=1) for rank in range(2)]
    alone = drawn(EpochBatches(45, 12, 3, patient=VISITS, per_patient=3), epoch=1)
    for one, other, whole in zip(*parts, alone, strict=True):
        assert len(one) == len(other) == 6
        assert sorted(one + other) == sorted(whole)


def test_one_per_patient_draws_as_if_patients_were_unknown() -> None:
    for epoch in range(3):
        assert drawn(EpochBatches(45, 7, 5, 1, 7, VISITS, 1), epoch) == drawn(EpochBatches(45, 7, 5, 1, 7), epoch)
    order = np.random.default_rng([5, 2]).permutation(45)
    assert joined(drawn(EpochBatches(45, 9, 5, patient=VISITS), 2)) == order.tolist()
    assert joined(drawn(EpochBatches(45, 9, None, patient=VISITS, per_patient=4))) == list(range(45))


def test_errors_name_argument_and_value(tiny_archive: Archive) -> None:
    with pytest.raises(ValueError, match="count=0"):
        EpochBatches(0, 4, 1)
    with pytest.raises(ValueError, match=r"batch_size=5.*2 processes"):
        EpochBatches(10, 5, 1, 0, 2)
    with pytest.raises(ValueError, match=r"count=1.*2 processes"):
        EpochBatches(1, 4, 1, 0, 2)
    with pytest.raises(ValueError, match=r"per_patient=5: .*4"):
        EpochBatches(10, 4, 1, patient=np.arange(10), per_patient=5)
    with pytest.raises(ValueError, match=r"per_patient=2: needs patient.*10"):
        EpochBatches(10, 4, 1, per_patient=2)
    with pytest.raises(ValueError, match=r"targets: 3 rows for 2 records"):
        ArchiveBatches(tiny_archive, np.arange(2), np.zeros((3, 1), np.float32))


def test_batches_hold_what_the_archive_holds(tiny_archive: Archive) -> None:
    rows = np.array([3, 70, 5, 20, 44])
    targets = np.array([[0, 1], [1, 0], [np.nan, 1], [0, 0], [1, 1]], np.float32)
    data = ArchiveBatches(tiny_archive, rows, targets)
    batches = list(batch_loader(data, EpochBatches(len(data), 2, None)))
    assert [len(batch["row"]) for batch in batches] == [2, 2, 1]
    scale = batches[0].pop("millivolts_per_bit")
    data_read = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    assert data_read["row"].tolist() == rows.tolist()
    assert data_read["signal"].dtype == torch.int16
    data_read = in_millivolts({**data_read, "millivolts_per_bit": scale})
    for name, part in tiny_archive.read(rows)._asdict().items():
        np.testing.assert_array_equal(data_read[name].numpy(), part)
    np.testing.assert_array_equal(data_read["patient"].numpy(), tiny_archive.patient[rows])
    np.testing.assert_array_equal(data_read["targets"].numpy(), targets)
    assert "targets" not in ArchiveBatches(tiny_archive, rows)[np.arange(2)]


def test_one_example_of_each_patient_comes_in_every_epoch_and_all_get_their_turn() -> None:
    patient = np.array([5, 2, 2, 9, 5, 2, 7, 5, 9, 1])
    batches = OnePerPatient(patient, batch_size=2, seed=3)
    assert len(batches) == 2
    seen = []
    for epoch in range(60):
        batches.set_epoch(epoch)
        chosen = np.concatenate(list(batches))
        assert len(set(patient[chosen])) == len(chosen) == 4  # of 5 patients: the last incomplete batch is left out
        seen += chosen.tolist()
    assert set(seen) == set(range(10))
    counts = np.bincount(patient[seen])
    assert counts[counts > 0].min() > 0.6 * counts.max()  # who has more ECGs does not come more often
    again = OnePerPatient(patient, batch_size=2, seed=3)
    again.set_epoch(59)
    assert np.concatenate(list(again)).tolist() == seen[-4:]
    assert [len(batch) for batch in OnePerPatient(patient, batch_size=64, seed=3)] == [5]
