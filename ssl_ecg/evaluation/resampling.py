"""Draws of patients for the bootstrap.

Records of one patient resemble one another, so a replicate draws patients with replacement and takes all records of a
drawn patient. A replicate is stored as how often each record was drawn.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssl_ecg.evaluation.metrics import undefined_classes

_REDRAWS = 1000


def bootstrap_weights(
    patient: ArrayLike, labels: ArrayLike, replicates: int = 1000, seed: int = 0
) -> NDArray[np.uint16]:
    """Draws patients with replacement, so that no class vanishes from any replicate.

    Each patient belongs to the stratum of the rarest class (by positive patients) that any of the patient's records is
    positive for, or to the stratum without positives; each stratum is resampled to its own size. A class that is the
    rarest of one of its patients therefore always keeps a positive. A replicate in which another class still loses its
    last positive or negative is drawn again.

    Args:
        patient: [n], any ids.
        labels: [n, C], 1, 0 or NaN (unknown).
        replicates: How many.
        seed: Of the random draws.

    Returns:
        [n, replicates], how often each record was drawn. Every class that has a positive and a negative among all
        records has both in every replicate.

    Raises:
        ValueError: Sizes differ, or almost every draw loses a class.
    """
    label = np.asarray(labels, dtype=np.float64)
    person = _persons(patient, len(label))
    stratum = _strata(person, label)
    defined = ~undefined_classes(label)
    present = np.stack([label[:, defined] == 1, label[:, defined] == 0]).astype(np.float32)  # [2, n, classes]

    rng = np.random.default_rng(seed)
    weights = np.empty((len(label), replicates), dtype=np.uint16)
    missing = np.arange(replicates)
    for _ in range(_REDRAWS):
        weights[:, missing] = _resample(stratum, len(missing), rng)[person]
        drawn = (weights[:, missing] > 0).astype(np.float32)
        missing = missing[((present.transpose(0, 2, 1) @ drawn) == 0).any(axis=(0, 1))]
        if not len(missing):
            return weights
    raise ValueError(
        f"{len(missing)} of {replicates} bootstrap replicates still lose a class after {_REDRAWS} draws: "
        "classes with so few patients cannot be resampled; merge them or leave them out"
    )


def telling_weights(
    patient: ArrayLike, outcome: ArrayLike, replicates: int = 1000, seed: int = 0
) -> NDArray[np.uint16] | None:
    """Draw patients for an interval, or return None where there are too few of them for an interval to mean anything.

    An interval shows how far a metric moves when other patients are drawn. ``bootstrap_weights`` makes sure that no
    outcome vanishes from a draw. Where only one patient has an outcome, that patient is therefore in every draw, the
    metric hardly moves, and the interval would be narrow for the wrong reason. So at least one outcome must have two
    patients with it and two without.

    Args:
        patient: [n], any ids.
        outcome: [n, K], 1, 0 or NaN (unknown); those with one value only are passed over.
        replicates: how many draws.
        seed: of the draws.

    Returns:
        [n, replicates], how often each record was drawn; or None, as well where the patients are so few that almost
        every draw loses an outcome.

    Raises:
        ValueError: Sizes differ.
    """
    known = np.asarray(outcome, dtype=np.float64)
    person = _persons(patient, len(known))
    known = known[:, ~undefined_classes(known)]
    if not any(all(len(np.unique(person[column == value])) > 1 for value in (0, 1)) for column in known.T):
        return None
    try:
        return bootstrap_weights(person, known, replicates, seed)
    except ValueError:  # so few patients that draws lose an outcome
        return None


def _persons(patient: ArrayLike, records: int) -> NDArray[np.intp]:
    """Patients numbered from 0, [n]."""
    person = np.unique(np.asarray(patient), return_inverse=True)[1]
    if len(person) != records:
        raise ValueError(f"patient has {len(person)} entries but labels {records} records")
    return person


def _strata(person: NDArray[np.intp], label: NDArray[np.float64]) -> NDArray[np.intp]:
    """Stratum of each patient: the rarest class that it is positive for, C if none."""
    patients, classes = person.max(initial=-1) + 1, label.shape[1]
    positive = np.zeros((patients, classes), dtype=bool)
    np.logical_or.at(positive, person, label == 1)
    by_rarity = np.argsort(positive.sum(axis=0), kind="stable")
    first = by_rarity[positive[:, by_rarity].argmax(axis=1)] if classes else np.zeros(patients, dtype=np.intp)
    return np.where(positive.any(axis=1), first, classes)


def _resample(stratum: NDArray[np.intp], replicates: int, rng: np.random.Generator) -> NDArray[np.uint16]:
    """How often each patient is drawn, [patients, replicates], each stratum to its own size."""
    counts = np.empty((len(stratum), replicates), dtype=np.uint16)
    for members in (np.flatnonzero(stratum == s) for s in np.unique(stratum)):
        size = len(members)
        drawn = rng.integers(size, size=(replicates, size)) + size * np.arange(replicates)[:, None]
        counts[members] = np.bincount(drawn.ravel(), minlength=size * replicates).reshape(replicates, size).T
    return counts
