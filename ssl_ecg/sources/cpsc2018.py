"""CPSC 2018 (Liu et al., J. Med. Imaging Health Inform. 2018): nine classes from the diagnosis lines of the headers.

The layout of its redistribution for the PhysioNet challenges, with the words of its authors: a folder of ``.hea`` and
``.mat`` files, in each header a line such as ``#Dx: AF,RBBB``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from ssl_ecg.sources.headers import diagnoses, recordings
from ssl_ecg.sources.source import Source, register

CLASSES = ("Normal", "AF", "I-AVB", "LBBB", "RBBB", "PAC", "PVC", "STD", "STE")

log = logging.getLogger(__name__)


def detect(folder: Path, files: Iterable[str]) -> bool:
    """Tell whether a header of the folder names diagnoses of the nine classes and nothing else."""
    return any(_is_known(diagnoses(folder / f"{name}.hea")) for name in recordings(files))


def labels(folder: Path) -> dict[str, pd.DataFrame]:
    """Make the label table of a folder.

    Returns:
        ``"cpsc2018"``: one row per record whose diagnoses are all of the nine classes, with ``record_id`` and 1 or 0
        for each class. The others are left out, and their number is logged.
    """
    found = {name: diagnoses(folder / f"{name}.hea") for name in recordings(path.name for path in folder.iterdir())}
    if others := [name for name, words in found.items() if not _is_known(words)]:
        log.warning(
            "%s: no labels for %d records without a known diagnosis: %s", folder, len(others), ", ".join(others[:5])
        )
    rows = [[name, *(int(c in words) for c in CLASSES)] for name, words in found.items() if _is_known(words)]
    return {"cpsc2018": pd.DataFrame(rows, columns=["record_id", *CLASSES])}


def _is_known(words: frozenset[str]) -> bool:
    return bool(words) and words <= set(CLASSES)


register("cpsc2018", Source(detect, labels=labels))
