"""A data set with a table of exams: whose they are, how old, and whether the rhythm is slow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from ssl_ecg.sources import Entry, Source, read_csv, register

TABLE = "exams_of_ours.csv"


def detect(folder: Path, files: frozenset[str]) -> bool:
    """Tell the data set by its table."""
    return TABLE in files


def records(folder: Path) -> Iterator[Entry]:
    """List the recordings with their patients."""
    for row in read_csv(folder, TABLE, ("file", "number", "patient", "age")).itertuples():
        yield Entry(row.file, patient_id=row.patient, age=float(row.age), record_id=row.number)


def labels(folder: Path) -> dict[str, pd.DataFrame]:
    """Return the label table of the rhythm."""
    table = read_csv(folder, TABLE, ("file", "number", "slow"))
    ids = table["file"].str.removesuffix(".hea") + "#" + table["number"]
    return {"ours": pd.DataFrame({"record_id": ids, "slow": table["slow"].astype(int)})}


SOURCE = Source(detect, records, labels, tables=(TABLE,))

register("own_source", SOURCE)
