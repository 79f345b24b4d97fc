"""Who is trained on and who is tested on: always whole patients."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal, Self

import numpy as np
from annotated_types import Gt, Lt
from numpy.typing import NDArray
from pydantic import model_validator

from ssl_ecg.labels.tables import LabelTable
from ssl_ecg.settings import Settings

Indices = NDArray[np.int64]

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Splits:
    """Three disjoint sets of indices into a label table, each int64 and ascending."""

    train: Indices
    validation: Indices
    test: Indices


def split_by_fold(labels: LabelTable, validation: Sequence[int] = (8,), test: Sequence[int] = (9,)) -> Splits:
    """Split by the folds of the label table; what is in neither list is trained on.

    Raises:
        ValueError: If the table has no folds, a split is empty, or a patient stands in two splits.
    """
    if labels.fold is None:
        raise ValueError("the label table has no column fold: use split_by_patient")
    if both := set(validation) & set(test):
        raise ValueError(f"folds {sorted(both)} are in validation and in test")
    in_validation, in_test = np.isin(labels.fold, list(validation)), np.isin(labels.fold, list(test))
    parts = [np.flatnonzero(mask) for mask in (~in_validation & ~in_test, in_validation, in_test)]
    splits = Splits(*parts)
    for name, indices in vars(splits).items():
        if not len(indices):
            there = ", ".join(map(str, np.unique(labels.fold)))
            raise ValueError(f"{name} is empty with validation={validation}, test={test}: the table has folds {there}")
    check_no_leakage(labels, splits)
    return splits


def split_by_patient(labels: LabelTable, seed: int, validation: float = 0.15, test: float = 0.2) -> Splits:
    """Draw a split by patient, stratified by label combination.

    Args:
        labels: The label table.
        seed: Seed of the draw.
        validation: Fraction of the patients to choose on.
        test: Fraction of the patients to test on.

    Raises:
        ValueError: If the fractions leave a split empty.
    """
    if validation <= 0 or test <= 0 or validation + test >= 1:
        raise ValueError(f"validation and test must be positive and below 1 together, got {validation} and {test}")
    order = _stratified_order(*_by_patient(labels, np.arange(len(labels))), seed)
    ends = [round(test * len(order)), round((test + validation) * len(order))]
    parts = np.split(order, ends)
    if not all(len(part) for part in parts):
        raise ValueError(f"{len(order)} patients are too few for validation={validation}, test={test}")
    tested, chosen, trained = (np.flatnonzero(np.isin(labels.patient, part)) for part in parts)
    return Splits(trained, chosen, tested)


def last_of_each_patient(labels: LabelTable, indices: Indices) -> Indices:
    """Keep one record of each patient: the last recorded one, whatever its outcome.

    A choice that looked at outcomes would favour records close to the event: where the disease ends the row of
    countable records, the last of these is the one just before it. Patients whose last record has no known outcome
    are counted in the log. Records without a date count as earlier than those with one; among equals the last in the
    table is kept.

    Args:
        labels: The label table.
        indices: int64 [n], indices into it.

    Returns:
        Ascending indices, one a patient.
    """
    dates = np.full(len(labels), np.datetime64("NaT")) if labels.recorded_at is None else labels.recorded_at
    latest_first = indices[np.lexsort((indices, dates[indices].astype(np.int64)))[::-1]]  # NaT is the smallest integer
    last = np.sort(latest_first[np.unique(labels.patient[latest_first], return_index=True)[1]])
    if unknown := int(np.isnan(labels.outcome[last]).all(axis=1).sum()):
        log.warning(
            "the last records of %d of %d patients have no known outcome and count in no metric", unknown, len(last)
        )
    return last


def check_no_leakage(labels: LabelTable, splits: Splits) -> None:
    """Make sure that no patient stands in two splits.

    Raises:
        ValueError: If one does; the message gives the first 8 digits of the SHA-256 of some patient ids, so that a log
            can be shown around.
    """
    names = labels.patient if labels.patient_id is None else labels.patient_id
    sets = {name: set(labels.patient[indices]) for name, indices in vars(splits).items()}
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        if both := sorted(sets[one] & sets[other]):
            first = [str(names[np.argmax(labels.patient == patient)]) for patient in both[:5]]
            hashed = ", ".join(hashlib.sha256(name.encode()).hexdigest()[:8] for name in first)
            raise ValueError(f"{len(both)} patients are in {one} and in {other} (SHA-256 of their ids: {hashed})")


def require_positives(labels: LabelTable, splits: Splits) -> list[str]:
    """Find the classes that cannot be learned or scored, since a split has no positive or no negative of them.

    Returns:
        A sentence for each split and what it lacks; they are logged as well.

    Raises:
        ValueError: If a split has not one class with both positives and negatives.
    """
    warnings = [line for name, indices in vars(splits).items() for line in lacking(labels, name, indices)]
    for warning in warnings:
        log.warning(warning)
    return warnings


def lacking(labels: LabelTable, name: str, indices: Indices) -> list[str]:
    """Say which classes have no positive or no negative among the records ``indices``, called ``name``.

    Raises:
        ValueError: If not one class has both.
    """
    warnings = []
    outcome = labels.outcome[indices]
    usable = np.ones(len(labels.outcomes), dtype=bool)
    for value, word in ((1, "positive"), (0, "negative")):
        there = (outcome == value).any(axis=0)
        usable &= there
        if absent := [labels.outcomes[c] for c in np.flatnonzero(~there)]:
            warnings.append(f"{name} has no {word} record of {len(absent)} classes: {', '.join(absent)}")
    if not usable.any():
        raise ValueError(f"no class has both positive and negative records in {name} ({len(indices)} records)")
    return warnings


def nested_fractions(
    labels: LabelTable, train_indices: Indices, fractions: Sequence[float], seed: int
) -> dict[float, Indices]:
    """Draw nested subsets of the training patients: 1 % lies inside 5 %, which lies inside 10 %, and so on.

    Patients are put in one random order and each fraction takes a prefix of it, of ``round(fraction x patients)`` but
    at least one. The order is stratified by label combination: with a random rank r = 0..n-1 within a stratum of n
    patients and u uniform in [0, 1), patients are sorted by (r + u) / n, so that every prefix holds nearly the
    proportions of the whole. One positive patient of every class is then put first: without that a rare class would be
    absent from the smallest fraction, and a class that was never seen cannot be scored. Small fractions are therefore
    slightly richer in rare classes than chance; a fraction of fewer patients than classes can still lack some.

    Args:
        labels: The label table.
        train_indices: int64 [n], indices into it.
        fractions: Fractions of the training patients, each above 0 and at most 1.
        seed: Seed of the draw.

    Returns:
        For each fraction, ascending indices into ``labels``: all training records of the patients drawn.

    Raises:
        ValueError: If a fraction is impossible or there is no training record.
    """
    if not len(train_indices):
        raise ValueError("train_indices must not be empty")
    if wrong := [fraction for fraction in fractions if not 0 < fraction <= 1]:
        raise ValueError(f"fractions must lie above 0 and up to 1, got {wrong}")
    patients, positive = _by_patient(labels, train_indices)
    order = _stratified_order(patients, positive, seed)
    positive = positive[np.searchsorted(patients, order)]
    first = np.unique([np.argmax(column) for column in positive.T if column.any()]).astype(np.int64)
    order = np.concatenate([order[first], np.delete(order, first)])
    patient = labels.patient[train_indices]
    return {
        fraction: np.sort(train_indices[np.isin(patient, order[: max(1, round(fraction * len(order)))])])
        for fraction in fractions
    }


def _by_patient(labels: LabelTable, indices: Indices) -> tuple[Indices, NDArray[np.bool_]]:
    """Return the patients, ascending, and for each whether some record of theirs is positive, bool [patients, C]."""
    patients, which = np.unique(labels.patient[indices], return_inverse=True)
    positive = np.zeros((len(patients), len(labels.outcomes)), dtype=bool)
    np.logical_or.at(positive, which, labels.outcome[indices] == 1)
    return patients, positive


def _stratified_order(patients: Indices, positive: NDArray[np.bool_], seed: int) -> Indices:
    """Put patients in a random order of which every prefix has nearly the same mix of label combinations."""
    rng = np.random.default_rng(seed)
    stratum = np.unique(positive, axis=0, return_inverse=True)[1].reshape(-1)
    key = np.empty(len(patients))
    for value in np.unique(stratum):
        members = np.flatnonzero(stratum == value)
        key[members] = (rng.permutation(len(members)) + rng.random(len(members))) / len(members)
    return patients[np.argsort(key, kind="stable")]


class SplitSettings(Settings):
    """Which records train, choose and test."""

    validation_folds: tuple[int, ...] = ()
    """folds of the label table's ``fold`` column that choose"""
    test_folds: tuple[int, ...] = ()
    """folds that are scored once; without folds, patients are drawn by ``seed``"""
    validation: Annotated[float, Gt(0), Lt(1)] = 0.15
    """share of patients that choose, where patients are drawn"""
    test: Annotated[float, Gt(0), Lt(1)] = 0.2
    """share of patients that test, where patients are drawn"""
    seed: int = 0
    """of that draw"""
    records: Literal["all", "last"] = "all"
    """"all" records of a patient choose and test, or the "last" recorded one, whatever its outcome"""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if bool(self.validation_folds) != bool(self.test_folds):
            raise ValueError(
                f"validation_folds={self.validation_folds}, test_folds={self.test_folds}: name both, or neither"
            )
        return self

    def split(self, labels: LabelTable) -> Splits:
        """Return the splits of a label table, checked for leakage and for classes that cannot be tested."""
        if self.test_folds:
            splits = split_by_fold(labels, validation=self.validation_folds, test=self.test_folds)
        else:
            splits = split_by_patient(labels, self.seed, validation=self.validation, test=self.test)
        check_no_leakage(labels, splits)
        if self.records == "last":
            validation, test = (last_of_each_patient(labels, part) for part in (splits.validation, splits.test))
            splits = replace(splits, validation=validation, test=test)
        require_positives(labels, splits)
        return splits
