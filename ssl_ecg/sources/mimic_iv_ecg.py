"""MIMIC-IV-ECG (Gow et al., PhysioNet 2023): patients and times of 800,000 ECGs, and what the machine said of each.

The layout of its publication: ``record_list.csv`` names the recordings below ``files/``, and
``machine_measurements.csv`` has the statements of the machine, ``report_0`` to ``report_17``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

import pandas as pd

from ssl_ecg.sources.source import Entry, Faults, Source, read_csv, register

RECORDS, STATEMENTS = "record_list.csv", "machine_measurements.csv"
COLUMNS = ("subject_id", "study_id", "ecg_time", "path")
MIN_RECORDS = 20
"""records of which the machine must say a statement for it to become a class"""


def detect(folder: Path, files: Iterable[str]) -> bool:
    """Tell whether a folder has the list of recordings."""
    if RECORDS not in set(files):
        return False
    with (folder / RECORDS).open("rb") as file:
        return {*COLUMNS} <= set(file.readline(1000).decode("latin-1").strip().split(","))


def records(folder: Path) -> Iterator[Entry]:
    """List the recordings with their patients and times.

    Raises:
        SourceError: the table lacks a column, or, after all recordings, a time is none; it is unknown then.
    """
    table, faults = read_csv(folder, RECORDS, COLUMNS), Faults(RECORDS)
    for line, (patient, time, path) in enumerate(zip(table["subject_id"], table["ecg_time"], table["path"]), 2):
        try:
            recorded_at = datetime.fromisoformat(time) if time else None
        except ValueError:
            recorded_at = None
            faults.note(line, "ecg_time", "is no date and time")
        yield Entry(f"{path}.hea", patient_id=patient or None, recorded_at=recorded_at)
    faults.tell()


def labels(folder: Path) -> dict[str, pd.DataFrame]:
    """Make the label table ``"mimic_iv_ecg"``: one row per record, 1 or 0 for each statement of the machine.

    Statements are compared without case and final stop; those of fewer than ``MIN_RECORDS`` records are left out. They
    are what an algorithm said, not what a cardiologist would.
    """
    if not (folder / STATEMENTS).is_file():
        return {}
    table = read_csv(folder, RECORDS, COLUMNS)
    said = read_csv(folder, STATEMENTS, ("study_id",))
    reports = [name for name in map(str, said) if name.startswith("report_")]
    path_of = dict(zip(table["study_id"], table["path"]))
    long = said.melt("study_id", reports, value_name="statement")
    long["statement"] = long["statement"].str.strip().str.rstrip(".").str.lower()
    long = long[(long["statement"] != "") & long["study_id"].isin(path_of.keys())]
    counts = long.groupby("statement")["study_id"].nunique()
    kept = sorted(counts.index[counts >= MIN_RECORDS])
    studies = [study for study in dict.fromkeys(said["study_id"]) if study in path_of]
    found = pd.crosstab(long["study_id"], long["statement"]).reindex(studies, fill_value=0).clip(upper=1)
    found = found.reindex(columns=kept, fill_value=0).astype(int)
    found.insert(0, "record_id", [path_of[study] for study in studies])
    return {"mimic_iv_ecg": found.reset_index(drop=True)} if kept else {}


register("mimic_iv_ecg", Source(detect, records, labels, (RECORDS, STATEMENTS)))
