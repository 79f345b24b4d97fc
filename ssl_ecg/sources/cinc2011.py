"""PhysioNet/CinC Challenge 2011 (Silva et al., CinC 2011): whether a 12-lead ECG of a phone is good enough to be read.

The layout of its training set: recordings beside the lists ``RECORDS-acceptable`` and ``RECORDS-unacceptable``, one
name per line, or a table ``quality.csv`` with columns ``record`` and ``quality``.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from ssl_ecg.sources.source import Source, SourceError, read_csv, register

LISTS = {"RECORDS-acceptable": 1, "RECORDS-unacceptable": 0}
TABLE = "quality.csv"
COLUMNS = ("record", "quality")


def detect(folder: Path, files: Iterable[str]) -> bool:
    """Tell whether a folder has the lists or the table."""
    there = set(files)
    if there >= LISTS.keys():
        return True
    if TABLE not in there:
        return False
    with (folder / TABLE).open("rb") as file:
        return file.readline(1000).decode("latin-1").strip().split(",")[:2] == [*COLUMNS]


def labels(folder: Path) -> dict[str, pd.DataFrame]:
    """Make the label table ``"cinc2011"``: ``record_id`` and ``acceptable``, 1 or 0; the undecided are left out."""
    if (folder / TABLE).is_file():
        table = read_csv(folder, TABLE, COLUMNS)
        said = dict(zip(table["record"], table["quality"].map({"acceptable": 1, "unacceptable": 0})))
    else:
        said = {}
        for name, acceptable in LISTS.items():
            try:
                lines = (folder / name).read_text(encoding="utf-8").split()
            except (OSError, ValueError) as error:
                raise SourceError(name, f"is no list of names ({type(error).__name__})") from error
            said |= dict.fromkeys(lines, acceptable)
    found = pd.DataFrame({"record_id": list(said), "acceptable": list(said.values())}).dropna()
    return {"cinc2011": found.astype({"acceptable": int}).sort_values("record_id", ignore_index=True)}


register("cinc2011", Source(detect, labels=labels, tables=(TABLE, *LISTS)))
