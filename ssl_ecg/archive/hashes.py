"""Hashes by which what was learned from is known again, in this archive or another one of the site."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ssl_ecg.archive.archive import Archive
from ssl_ecg.runs import ecg_hash, patient_hash


def patients_of(archive: Archive, rows: NDArray[np.integer]) -> frozenset[str]:
    """Return hashes of the patients in archive rows."""
    return frozenset(map(patient_hash, archive.manifest["patient_id"].iloc[rows].unique()))


def ecgs_of(archive: Archive, rows: NDArray[np.integer]) -> list[str]:
    """Return a hash of the ECG in each archive row, the same under any name; none of an archive in memory."""
    if "content" not in archive.manifest:
        return []
    return [ecg_hash(content) for content in archive.manifest["content"].iloc[rows]]
