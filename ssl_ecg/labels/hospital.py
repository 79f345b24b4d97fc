"""Tables of a hospital: whose the rows are by the ids of an archive, and dates by its clock.

What all labels from such tables share: rows and records that cannot be used are left out and counted, each for its
first reason, so that the counts add up.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ssl_ecg.archive.archive import Archive
from ssl_ecg.archive.patient_ids import archived_id, as_secret, id_scheme, time_shift
from ssl_ecg.labels.table_files import read_table
from ssl_ecg.labels.tables import read_labels

TableLike = pd.DataFrame | str | Path
Counts = list[tuple[str, str, int]]
"""``of`` (which table), ``what`` and ``count``."""

_DAY = r"^(\d{4}-\d{2}-\d{2})(?:[T ].*)?$"

log = logging.getLogger(__name__)


def hospital_table(
    table: TableLike,
    what: str,
    archive: Archive,
    dates: Sequence[str],
    others: Sequence[str] = (),
    optional: Sequence[str] = (),
    data_set: str | None = None,
    salt: str | bytes | None = None,
) -> tuple[str, pd.DataFrame]:
    """Read a table with a row for each event of a patient.

    Args:
        table: CSV or Parquet file, or a table; ``patient_id`` and the other columns that are named here are looked at.
        what: its rows are called in messages, such as "measurements".
        archive: whose patients and clock they are to be told by.
        dates: columns of days, such as 2021-03-31; a time behind it is not looked at.
        others: columns of text.
        optional: which of both may be missing; they are blank then.
        data_set: put before patient ids, as ingest does, where the table has them without.
        salt: of the archive, where the table's ids are not hashed; dates are shifted as ingest shifted those of the
            ECGs.

    Returns:
        What messages call the table; and the table: ``patient_id`` as in the archive, ``dates`` as datetime64 and
        ``others`` as text; blanks are missing.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it lacks a column, a date is none, or salt or times do not fit the archive.
    """
    secret, scheme = as_secret(salt), archive.info.get("patient_ids", "plain")
    if secret is not None and scheme != id_scheme(secret):
        raise ValueError(
            f"salt: the patient ids of {archive.folder} are {scheme}, and this salt makes {id_scheme(secret)}"
        )
    name = f"the table of {what}" if isinstance(table, pd.DataFrame) else str(table)
    given = table if isinstance(table, pd.DataFrame) else read_table(Path(table))
    columns = ["patient_id", *dates, *others]
    if missing := [column for column in columns if column not in given and column not in optional]:
        raise ValueError(f"{name} has no column {', '.join(missing)}; it needs {', '.join(columns)}")
    given = given.reindex(columns=columns)
    texts = given.astype("string").apply(lambda column: column.str.strip())
    texts = texts.mask(texts == "")
    patients = texts["patient_id"] if data_set is None else data_set + "/" + texts["patient_id"]
    frame = texts[list(others)].assign(
        patient_id=pd.Series([None if pd.isna(p) else archived_id(p, secret) for p in patients], given.index, object)
    )
    shift = _shift(archive, what, patients, secret)
    for column in dates:
        # The day that was on the wall: the hour, and with it the time zone, is not looked at.
        day = texts[column].str.extract(_DAY, expand=False)
        days = pd.to_datetime(day, format="%Y-%m-%d", errors="coerce").astype("datetime64[us]")
        refuse_unread(name, texts[column], days, "a date such as 2021-03-31")
        frame[column] = days if shift is None else days + shift
    return name, frame


def _shift(archive: Archive, what: str, patients: pd.Series, secret: bytes | None) -> pd.Series | None:
    """Return by how much the dates of each row are to be shifted, as ingest shifted those of the ECGs."""
    times = archive.info.get("times", "kept")
    if times == "kept":
        return None
    if times == "shifted" and secret is not None:
        shifts = [pd.NaT if pd.isna(patient) else time_shift(patient, secret) for patient in patients]
        return pd.Series(shifts, index=patients.index, dtype="timedelta64[us]")
    raise ValueError(
        f"the times of {archive.folder} are {'shifted: give the salt' if times == 'shifted' else 'years'}, and the "
        f"{what} as they were; or ingest with times=kept"
    )


def refuse_unread(name: str, given: pd.Series, read: pd.Series, wanted: str) -> None:
    """Refuse a column in which something stands that could not be read.

    Raises:
        ValueError: naming column and line.
    """
    unread = np.flatnonzero(given.notna().to_numpy() & read.isna().to_numpy())
    if len(unread):
        raise ValueError(
            f"column {given.name!r} of {name} must hold {wanted} or be blank; line {unread[0] + 2} does not "
            f"({len(unread)} such values)"
        )


def require_some(name: str, what: str, archive: Archive, kept: NDArray[np.bool_], out: list[tuple[str, int]]) -> None:
    """Refuse a table of which nothing can be used.

    Raises:
        ValueError: with the reasons.
    """
    if not kept.any():
        worst = ", ".join(f"{count} {why}" for why, count in out if count)
        raise ValueError(
            f"{name} has no usable {what}: {worst or 'it is empty'}; an archive's patient ids begin with its data set "
            f"(see data_set), and those of {archive.folder} are {archive.info.get('patient_ids', 'plain')} (see salt)"
        )


def records_of(archive: Archive, cohort: TableLike | None, cohort_class: str | None) -> pd.DataFrame:
    """Return ``record_id``, ``patient_id``, ``day`` of the recording and whether it is ``selected``, a row a record.

    Args:
        archive: of the records.
        cohort: label table that selects some; all if not given.
        cohort_class: its column that must be 1.

    Raises:
        ValueError: only one of both is given.
    """
    if (cohort is None) != (cohort_class is None):
        raise ValueError(
            f"cohort_class={cohort_class!r}: give a cohort and the column of it that must be 1, or neither"
        )
    records = archive.manifest[["record_id", "patient_id"]].astype(object)
    records["day"] = archive.manifest["recorded_at"].astype("datetime64[us]").dt.normalize()
    records["selected"] = True
    if cohort is not None and cohort_class is not None:
        members = read_labels(cohort, archive, [cohort_class])
        records["selected"] = np.isin(np.arange(len(archive)), members.rows[members.targets[:, 0] == 1])
    return records


def left_out(reasons: Mapping[str, pd.Series]) -> tuple[NDArray[np.bool_], list[tuple[str, int]]]:
    """Which rows no reason leaves out, and how many each does, a row with several counting for the first."""
    holds = np.column_stack([reason.to_numpy(bool) for reason in reasons.values()])
    out: NDArray[np.bool_] = np.any(holds, axis=1)
    counts = np.bincount(holds.argmax(axis=1)[out], minlength=len(reasons))
    return ~out, list(zip(reasons, counts.tolist()))


def counted(before: Counts, records: int, out: list[tuple[str, int]], ends: list[tuple[str, int]]) -> pd.DataFrame:
    """Return all counts as a table ``of``, ``what``, ``count``: of the tables, then of the records.

    Args:
        before: of the tables.
        records: in the archive.
        out: left out, by reason.
        ends: what is left; the first are the labelled ones.

    Raises:
        ValueError: no record is left.
    """
    counts = [*before, *(("records", *row) for row in [("in the archive", records), *out, *ends])]
    for of, what, count in counts:
        log.info("%s: %d %s", of, count, what)
    if not ends[0][1]:
        worst = ", ".join(f"{count} {what}" for what, count in out if count)
        raise ValueError(f"none of {records} records can be labelled: {worst}")
    return pd.DataFrame(counts, columns=["of", "what", "count"])
