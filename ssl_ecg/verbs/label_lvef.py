"""Measured ejection fractions become labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pandas as pd
import rich.table
from annotated_types import Ge

from ssl_ecg.runs import write_csv
from ssl_ecg.verbs._given import ArchiveLike, SaltSettings, Table, TableLike, opened
from ssl_ecg.verbs.verb import console, verb


class VerbSettings(SaltSettings):
    """What is called a low ejection fraction, and of which ECGs; the salt of ingest, where the ids are not hashed."""

    threshold: float = 40.0
    """percent; at or below it the ejection fraction is low"""
    window_days: Annotated[int, Ge(0)] = 183
    """the first measurement up to this day after the ECG is its label"""
    cohort: Table | None = None
    """label table that selects ECGs; null: all"""
    cohort_class: str | None = None
    """its column that must be 1, such as premature_ventricular_contraction"""
    data_set: str | None = None
    """name of the ingested folder, where the patient ids of the measurements lack that prefix"""


def show(counts: pd.DataFrame, archive: str, measurements: str, out: str) -> None:
    """Print what was left out and why."""
    table = rich.table.Table("of", "what", "count")
    for of, what, count in counts.itertuples(index=False):
        table.add_row(of, what, str(count))
    console.print(table)
    console.print(f"the labels lie in {out}")


@verb(VerbSettings, show)
def label_lvef(archive: ArchiveLike, measurements: TableLike, out: str | Path, settings: VerbSettings) -> pd.DataFrame:
    """Label ECGs by the ejection fraction measured soon after them, for the task cardiomyopathy.

    Args:
        archive: the archive, or its folder.
        measurements: CSV or Parquet file, or a table: patient_id, measured_at (such as 2021-03-31), lvef (percent).
        out: CSV file for the label table; beside it ``*_exclusions.csv`` counts what was left out, and why.
        settings: all settings at once, in place of single ones by name.

    Returns:
        The counts: ``of``, ``what``, ``count``.
    """
    from ssl_ecg.labels import lvef_labels

    out = Path(out)
    if out.suffix != ".csv":
        raise ValueError(f"out={str(out)!r}: is no CSV file; name a .csv file")
    if not isinstance(measurements, pd.DataFrame) and out.resolve() == Path(measurements).resolve():
        raise ValueError(f"out={str(out)!r}: the measurements lie there, and would be replaced; choose another file")
    given = {name: value for name, value in settings if name != "salt_file"}
    labels, counts = lvef_labels(opened(archive), measurements, **{**given, "salt": settings.secret})
    out.parent.mkdir(parents=True, exist_ok=True)
    write_csv(out, labels)
    write_csv(out.with_name(f"{out.stem}_exclusions.csv"), counts)
    return counts
