"""The Lobachevsky University database (Kalyakulina et al., IEEE Access 2020): the rhythms of ``ludb.csv``."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

import pandas as pd

from ssl_ecg.sources.source import Source, SourceError, read_csv, register

TABLE = "ludb.csv"


def detect(folder: Path, files: Collection[str]) -> bool:
    """Tell whether a folder holds the table; the recordings are in ``data/``."""
    return TABLE in files


def labels(folder: Path) -> dict[str, pd.DataFrame]:
    """Make the label table; records whose recording is not there, or without a rhythm, are left out.

    Returns:
        ``"ludb_rhythm"``: one row per record, ``record_id`` and 1 or 0 for each rhythm that occurs, by name.

    Raises:
        SourceError: the table lacks a column, or a record has no number.
    """
    records = {}
    for row in read_csv(folder, TABLE, ("ID", "Rhythms")).to_dict("records"):
        number = row["ID"].strip()
        if not re.fullmatch(r"[0-9]{1,6}", number):
            raise SourceError(TABLE, f"ID must be the number of a record, got {number[:60]!r}")
        # One rhythm per line of the cell.
        rhythms = frozenset(filter(None, (_name(line) for line in row["Rhythms"].splitlines())))
        if rhythms and (folder / "data" / f"{number}.hea").is_file():
            records[f"data/{number}"] = rhythms
    classes = sorted(frozenset().union(*records.values()))
    rows = [[path, *(int(name in rhythms) for name in classes)] for path, rhythms in records.items()]
    return {"ludb_rhythm": pd.DataFrame(rows, columns=["record_id", *classes])}


def _name(text: str) -> str:
    """Turn "Atrial flutter, typical" into "atrial_flutter_typical"."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


register("ludb", Source(detect, labels=labels, tables=(TABLE,)))
