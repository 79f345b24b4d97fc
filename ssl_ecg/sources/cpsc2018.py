"""CPSC 2018 (Liu et al., J. Med. Imaging Health Inform. 2018): nine classes from the diagnosis lines of the headers.

The layout of its redistribution for the PhysioNet challenges, with the words of its authors: a folder of ``.hea`` and
``.mat`` files, in each header a line such as ``#Dx: AF,RBBB``.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

CLASSES = ("Normal", "AF", "I-AVB", "LBBB", "RBBB", "PAC", "PVC", "STD", "STE")

_MAX_HEADER_BYTES = 100_000
_DIAGNOSES = re.compile(rb"^#[ \t]*dx[ \t]*:[ \t]*([^\r\n]*)", re.IGNORECASE | re.MULTILINE)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CPSC2018:
    """A folder in the layout of CPSC 2018: the classes of each record, by its name without suffix."""

    folder: Path
    records: dict[str, frozenset[str]]

    @classmethod
    def read(cls, folder: Path, files: Collection[str]) -> CPSC2018 | None:
        """Read the headers of a folder.

        Args:
            folder: The folder.
            files: Names of the files in it.

        Returns:
            The records whose diagnoses are all of the nine classes, or None where there is none: another data set. The
            others are left out, and their number is logged.
        """
        there = set(files)
        names = sorted(file.removesuffix(".hea") for file in there if file.endswith(".hea"))
        found = {name: _diagnoses(folder / f"{name}.hea") for name in names if f"{name}.mat" in there}
        records = {name: words for name, words in found.items() if words and words <= set(CLASSES)}
        if not records:
            return None
        if others := sorted(found.keys() - records.keys()):
            log.warning(
                "%s: no labels for %d records without a known diagnosis: %s", folder, len(others), ", ".join(others[:5])
            )
        return cls(folder, records)

    def label_tables(self, prefix: str = "") -> dict[str, pd.DataFrame]:
        """Make the label table.

        Args:
            prefix: Put before each name to make its record id, such as ``"cpsc2018/"``.

        Returns:
            ``"cpsc2018"``: a row a record, ``record_id`` and 1 or 0 for each class, whether it occurs or not.
        """
        rows = [[prefix + name, *(int(c in words) for c in CLASSES)] for name, words in self.records.items()]
        return {"cpsc2018": pd.DataFrame(rows, columns=["record_id", *CLASSES])}


def _diagnoses(header: Path) -> frozenset[str]:
    """Return the words of a header's diagnosis lines; none where it cannot be read."""
    try:
        with header.open("rb") as file:
            content = file.read(_MAX_HEADER_BYTES)
    except OSError:
        return frozenset()
    lines = [line.decode("utf-8", "replace") for line in _DIAGNOSES.findall(content)]
    return frozenset(word.strip() for line in lines for word in line.split(",") if word.strip())
