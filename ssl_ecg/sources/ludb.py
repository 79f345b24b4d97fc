"""The Lobachevsky University database (Kalyakulina et al., IEEE Access 2020): the rhythms of ``ludb.csv``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

TABLE = "ludb.csv"


@dataclass(frozen=True)
class LUDB:
    """A folder in the layout of LUDB: the rhythms of each record, by its path relative to the folder without suffix."""

    folder: Path
    records: dict[str, frozenset[str]]

    @classmethod
    def read(cls, folder: Path) -> LUDB:
        """Read the table; records whose recording is not there, or without a rhythm, are left out.

        Args:
            folder: Folder that holds ``ludb.csv``, and the recordings in ``data/``.

        Raises:
            ValueError: If the table lacks a column, or a record has no number.
        """
        path = folder / TABLE
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        if missing := sorted({"ID", "Rhythms"} - set(table.columns)):
            raise ValueError(f"{path} lacks the columns {', '.join(missing)}")
        records = {}
        for row in table.to_dict("records"):
            number = row["ID"].strip()
            if not re.fullmatch(r"[0-9]{1,6}", number):
                raise ValueError(f"{path}: ID must be the number of a record, got {number[:60]!r}")
            # One rhythm a line of the cell.
            rhythms = frozenset(filter(None, (_name(line) for line in row["Rhythms"].splitlines())))
            if rhythms and (folder / "data" / f"{number}.hea").is_file():
                records[f"data/{number}"] = rhythms
        return cls(folder, records)

    def label_tables(self, prefix: str = "") -> dict[str, pd.DataFrame]:
        """Make the label table.

        Args:
            prefix: Put before each path to make its record id, such as ``"ludb/"``.

        Returns:
            ``"ludb_rhythm"``: a row a record, ``record_id`` and 1 or 0 for each rhythm that occurs, by name.
        """
        classes = sorted(frozenset().union(*self.records.values()))
        rows = [[prefix + path, *(int(name in rhythms) for name in classes)] for path, rhythms in self.records.items()]
        return {"ludb_rhythm": pd.DataFrame(rows, columns=["record_id", *classes])}


def _name(text: str) -> str:
    """Turn "Atrial flutter, typical" into "atrial_flutter_typical"."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
