"""Hashes by which what was learned from is known again, in this archive or another one of the site."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ssl_ecg.archive.archive import Archive
from ssl_ecg.runs import ecg_hash, patient_hash


def hashes_of(archive: Archive, rows: NDArray[np.integer]) -> tuple[frozenset[str], frozenset[str]]:
    """Return hashes of the patients in archive rows, and of the ECGs."""
    patients = frozenset(map(patient_hash, archive.manifest["patient_id"].iloc[rows].unique()))
    return patients, frozenset(ecgs_of(archive, rows))


def ecgs_of(archive: Archive, rows: NDArray[np.integer]) -> Iterator[str]:
    """Yield a hash of the ECG in each archive row: the same under any name; "" where the archive knows none."""
    if "content" not in archive.manifest:
        return iter([""] * len(rows))
    return (ecg_hash(content) for content in archive.manifest["content"].iloc[rows])
