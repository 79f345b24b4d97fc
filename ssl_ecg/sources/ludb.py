"""The Lobachevsky University database (Kalyakulina et al., IEEE Access 2020): the rhythms of ``ludb.csv``."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

import pandas as pd

from ssl_ecg.sources.source import Faults, Source, read_csv, register

TABLE = "ludb.csv"


def detect(folder: Path, files: Collection[str]) -> bool:
    """Tell whether a folder holds the table; the recordings are in ``data/``."""
    return TABLE in files


def labels(folder: Path) -> dict[str, pd.DataFrame]:
    """Make the label table; records whose recording is not there, or without a rhythm, are left out.

    Returns:
        ``"ludb_rhythm"``: one row per record, ``record_id`` and 1 or 0 for each rhythm that occurs, by name.

    Raises:
        SourceError: the table lacks a column, or, after all others were read, a record has no number.
    """
    records, faults = {}, Faults(TABLE)
    for line, row in enumerate(read_csv(folder, TABLE, ("ID", "Rhythms")).to_dict("records"), start=2):
        number = row["ID"].strip()
        if not re.fullmatch(r"[0-9]{1,6}", number):
            faults.note(line, "ID", "must be the number of a record")
            continue
        # One rhythm per line of the cell.
        rhythms = frozenset(filter(None, (_name(line) for line in row["Rhythms"].splitlines())))
        if rhythms and (folder / "data" / f"{number}.hea").is_file():
            records[f"data/{number}"] = rhythms
    classes = sorted(frozenset().union(*records.values()))
    rows = [[path, *(int(name in rhythms) for name in classes)] for path, rhythms in records.items()]
    made = {"ludb_rhythm": pd.DataFrame(rows, columns=["record_id", *classes])} if rows else {}
    faults.tell(made)
    return made


def _name(text: str) -> str:
    """Turn "Atrial flutter, typical" into "atrial_flutter_typical"."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


register("ludb", Source(detect, labels=labels, tables=(TABLE,)))
