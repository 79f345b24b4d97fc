"""Who is trained on, who chooses and who is tested on: always whole patients."""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

import numpy as np
import pandas as pd
from annotated_types import Ge, Gt, Lt
from numpy.typing import NDArray
from pydantic import model_validator

from ssl_ecg.labels.tables import LabelTable
from ssl_ecg.settings import Settings

Indices = NDArray[np.int64]

CANDIDATES = 100
"""Keys that ``stratify`` chooses from."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Splits:
    """Three disjoint sets of indices into a label table, each int64 and ascending.

    Attributes:
        train: who is learned from.
        validation: who chooses.
        test: who is scored once.
        how: the settings that drew them, with the key; what a folder keeps so that later labels move nobody.
    """

    train: Indices
    validation: Indices
    test: Indices
    how: Mapping[str, Any] = field(default_factory=dict)

    @property
    def parts(self) -> dict[str, Indices]:
        """The three by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


class SplitSettings(Settings):
    """Which records train, choose and test."""

    validation_folds: tuple[int, ...] = ()
    """folds of the label table's column fold that choose; without folds, patients are drawn"""
    test_folds: tuple[int, ...] = ()
    """folds that are scored once"""
    validation: Annotated[float, Gt(0), Lt(1)] = 0.15
    """share of the patients that choose, where patients are drawn"""
    test: Annotated[float, Gt(0), Lt(1)] = 0.2
    """share of the patients that test, where patients are drawn"""
    seed: Annotated[int, Ge(0)] = 0
    """of the draw; labels have no part in it"""
    records: Literal["all", "last"] = "all"
    """all records of a patient choose and test, or the last recorded one, whatever its outcome"""
    stratify: bool = False
    """choose among many draws of the seed the one whose parts have the most similar class proportions; an encoder that
    was held out by it keeps the choice"""
    key: str | None = None
    """that draws, in place of one made from the seed"""
    patients: Literal["known", "unknown"] = "known"
    """unknown: draw records of unknown patients as if each were somebody else; otherwise they are refused"""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if bool(self.validation_folds) != bool(self.test_folds):
            raise ValueError(
                f"validation_folds={self.validation_folds}, test_folds={self.test_folds}: only one is given; name "
                "both, or neither"
            )
        if both := sorted(set(self.validation_folds) & set(self.test_folds)):
            raise ValueError(f"test_folds={self.test_folds}: validation_folds has {both} too; name each fold once")
        if self.validation + self.test >= 1:
            raise ValueError(
                f"validation={self.validation}, test={self.test}: nobody is left to train on; choose shares below 1 "
                "together"
            )
        return self

    def split(self, labels: LabelTable, kept: Mapping[str, Any] | None = None) -> Splits:
        """Split a label table, and make sure that no patient stands in two parts and that something can be scored.

        Args:
            labels: the label table.
            kept: how an encoder was held out (``encoder.origin["split"]``, which is ``Splits.how``). Its key is taken
                where it is one of the same seed, so that labels which changed since then move nobody.

        Raises:
            ValueError: patients are unknown, a part is empty, a patient stands in two, or no class can be scored.
        """
        if labels.patients_unknown:
            log.warning(
                "patients unknown for %d of %d records: records are counted", labels.patients_unknown, len(labels)
            )
        key = None
        if self.test_folds:
            splits = split_by_fold(labels, self.validation_folds, self.test_folds)
        else:
            self._refuse_unknown(labels)
            key = self._key(labels, kept or {})
            splits = split_by_patient(labels, key, self.validation, self.test)
        parts = splits.parts
        if self.records == "last":
            parts |= {name: last_of_each_patient(labels, parts[name]) for name in ("validation", "test")}
        splits = Splits(**parts, how=self.replace(key=key).to_dict())
        require_positives(labels, splits)
        return splits

    def _refuse_unknown(self, labels: LabelTable) -> None:
        if labels.patients_unknown and self.patients == "known":
            raise ValueError(
                f"split.patients='known': the patients of {labels.patients_unknown} of {len(labels)} records are "
                "unknown, so that somebody could be trained on and tested on; name them with ssl-ecg ingest "
                "patients=TABLE, or choose split.patients=unknown where every record is of somebody else or this risk "
                "is accepted"
            )

    def _key(self, labels: LabelTable, kept: Mapping[str, Any]) -> str:
        if self.key is not None:
            return self.key
        if kept.get("key") is not None and kept["seed"] == self.seed:
            return str(kept["key"])
        key = f"ssl_ecg split {self.seed}"
        if not self.stratify:
            return key
        candidates = [key, *(f"{key}, candidate {number}" for number in range(1, CANDIDATES))]
        return most_even_key(labels, candidates, self.validation, self.test)


def split_by_fold(labels: LabelTable, validation: Sequence[int], test: Sequence[int]) -> Splits:
    """Split by the folds of the label table; what is in neither list is trained on.

    Raises:
        ValueError: the table has no folds, a part is empty, or a patient stands in two parts.
    """
    if labels.fold is None:
        raise ValueError(
            f"test_folds={tuple(test)}: the label table has no column fold; add one, or leave out the folds to draw "
            "patients"
        )
    in_validation, in_test = np.isin(labels.fold, list(validation)), np.isin(labels.fold, list(test))
    train, chosen, tested = (np.flatnonzero(mask) for mask in (~in_validation & ~in_test, in_validation, in_test))
    splits = Splits(train, chosen, tested)
    for name, indices in splits.parts.items():
        if not len(indices):
            there = ", ".join(map(str, np.unique(labels.fold)))
            raise ValueError(
                f"validation_folds={tuple(validation)}, test_folds={tuple(test)}: {name} is empty; choose from the "
                f"table's folds {there}"
            )
    check_no_leakage(labels, splits)
    return splits


def split_by_patient(labels: LabelTable, key: str, validation: float, test: float) -> Splits:
    """Draw a split by patient; who is drawn hangs on the key and the patient's own id alone.

    A patient tests where u < ``test`` and chooses where u < ``test`` + ``validation``, else trains. u in [0, 1) is the
    HMAC-SHA256 of the id under the key: its first 8 bytes over 2^64. So shares hold in the mean; of n patients the
    share p that tests is off by sqrt(p (1 - p) / n).

    Args:
        labels: the label table.
        key: of the draw.
        validation: expected share of the patients that choose.
        test: expected share of the patients that test.

    Raises:
        ValueError: a part is empty.
    """
    codes, patients = pd.factorize(labels.patient_id)
    part = _parts(patients, key, validation, test)[codes]
    tested, chosen, trained = (np.flatnonzero(part == number) for number in range(3))
    splits = Splits(trained, chosen, tested)
    if empty := [name for name, indices in splits.parts.items() if not len(indices)]:
        raise ValueError(
            f"validation={validation}, test={test}: nobody of {len(patients)} patients is in {' and '.join(empty)}; "
            "choose another split.seed or other shares, or name folds"
        )
    check_no_leakage(labels, splits)
    return splits


def most_even_key(labels: LabelTable, keys: Iterable[str], validation: float, test: float) -> str:
    """Choose the key whose parts lack the fewest classes and, of these, resemble the whole most.

    The distance is Pearson's chi-squared: over the three parts and the known positive and negative records of each
    outcome the sum of (observed - expected)^2 / expected, where a part's share of the whole is expected.

    Args:
        labels: the label table.
        keys: to choose from; of equals the first is taken.
        validation: as in ``split_by_patient``.
        test: as in ``split_by_patient``.
    """
    codes, patients = pd.factorize(labels.patient_id)
    known = np.concatenate([labels.outcome == 1, labels.outcome == 0], axis=1)
    counts = np.zeros((len(patients), known.shape[1]))
    np.add.at(counts, codes, known)
    counts = counts[:, counts.any(axis=0)]
    expected = np.outer([test, validation, 1 - test - validation], counts.sum(axis=0))

    def distance(key: str) -> tuple[int, float]:
        part = _parts(patients, key, validation, test)
        observed = (part == np.arange(3)[:, None]).astype(float) @ counts
        return int((observed == 0).sum()), float(((observed - expected) ** 2 / expected).sum())

    return min(keys, key=distance)


def _parts(patients: Iterable[Any], key: str, validation: float, test: float) -> Indices:
    """Return the part of each patient: 0 tests, 1 chooses, 2 trains."""
    secret = key.encode()
    drawn = [int.from_bytes(hmac.digest(secret, str(patient).encode(), "sha256")[:8], "big") for patient in patients]
    return np.searchsorted([test, test + validation], np.array(drawn, dtype=float) / 2.0**64, side="right")


def last_of_each_patient(labels: LabelTable, indices: Indices) -> Indices:
    """Keep one record of each patient: the last recorded one, whatever its outcome.

    A choice that looked at outcomes would favour records close to the event: where the disease ends the row of
    countable records, the last of these is the one just before it. Patients whose last record has no known outcome
    are counted in the log. Records without a date count as earlier than those with one; among equals the last in the
    table is kept.

    Args:
        labels: the label table.
        indices: int64 [n], indices into it.

    Returns:
        Ascending indices, one per patient.
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
        ValueError: one does; the message gives the first 8 digits of the SHA-256 of some patient ids, so that a log
            can be shown around.
    """
    sets = {name: set(labels.patient[indices]) for name, indices in splits.parts.items()}
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        if both := sorted(sets[one] & sets[other]):
            first = [str(labels.patient_id[np.argmax(labels.patient == patient)]) for patient in both[:5]]
            hashed = ", ".join(hashlib.sha256(name.encode()).hexdigest()[:8] for name in first)
            raise ValueError(f"{len(both)} patients are in {one} and in {other} (SHA-256 of their ids: {hashed})")


def require_positives(labels: LabelTable, splits: Splits) -> list[str]:
    """Find the classes that cannot be learned or scored, since a split has no positive or no negative of them.

    Returns:
        A sentence for each split and what it lacks; they are logged as well.

    Raises:
        ValueError: a split has not one class with both positives and negatives.
    """
    warnings = [line for name, indices in splits.parts.items() for line in lacking(labels, name, indices)]
    for warning in warnings:
        log.warning(warning)
    return warnings


def lacking(labels: LabelTable, name: str, indices: Indices) -> list[str]:
    """Say which classes have no positive or no negative among the records ``indices``, called ``name``.

    Raises:
        ValueError: not one class has both.
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
        labels: the label table.
        train_indices: int64 [n], indices into it.
        fractions: shares of the training patients, each above 0 and at most 1.
        seed: of the draw.

    Returns:
        For each fraction, ascending indices into ``labels``: all training records of the patients drawn.

    Raises:
        ValueError: a fraction is impossible or there is no training record.
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
