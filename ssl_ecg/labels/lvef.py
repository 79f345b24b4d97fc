"""Labels from echocardiography: was the left ventricular ejection fraction (LVEF) low soon after the ECG?

The label of an ECG is its patient's first measurement from the day of the ECG to the end of a window (Lampert et al.,
JACC Clinical Electrophysiology 2023: at most 40 % within six months). An earlier measurement says nothing: neither does
it label the ECG nor exclude it. Every ECG is labelled by itself, so that one measurement may label several ECGs of its
patient; splits and intervals go by patient. An ECG that cannot be labelled is left out and counted with its reason.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ssl_ecg.archive.archive import Archive
from ssl_ecg.archive.patient_ids import archived_id, as_secret, id_scheme, time_shift
from ssl_ecg.labels.tables import read_labels, read_table

COLUMNS = ("patient_id", "measured_at", "lvef")
_DAY = r"^(\d{4}-\d{2}-\d{2})(?:[T ].*)?$"

log = logging.getLogger(__name__)


def lvef_labels(
    archive: Archive,
    measurements: pd.DataFrame | str | Path,
    threshold: float = 40.0,
    window_days: int = 183,
    cohort: pd.DataFrame | str | Path | None = None,
    cohort_class: str | None = None,
    data_set: str | None = None,
    salt: str | bytes | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Label the ECGs of an archive by measurements of the ejection fraction.

    Days are those of the calendar: a measurement on the day of the ECG counts, whatever the hour. Of several on one day
    the lowest counts.

    Args:
        archive: Its manifest says whose the ECGs are and when they were recorded.
        measurements: CSV or Parquet file, or a table: ``patient_id``, ``measured_at`` (a date, such as 2021-03-31) and
            ``lvef`` (percent). Other columns are not looked at.
        threshold: Percent; at or below it the ejection fraction is low.
        window_days: Last day after the ECG on which a measurement counts.
        cohort: Label table that selects ECGs, such as those with premature ventricular contractions; all if not given.
        cohort_class: Its column that must be 1.
        data_set: Name of the ingested folder, which ingest puts before every patient's id, where the measurements have
            the ids without it.
        salt: Secret that the archive was ingested with, where the measurements have ids that are not hashed; their
            dates are shifted as ingest shifted those of the ECGs.

    Returns:
        A label table, in the order of the archive: ``record_id``, ``low_lvef`` (1 or 0), ``lvef`` and
        ``days_to_measurement``; and the counts: ``of`` ("measurements" or "records"), ``what`` (all of them, the
        reasons for which some were left out, each counted for its first reason, and those kept) and ``count``.

    Raises:
        FileNotFoundError: A table is not there.
        ValueError: A setting, a column or a value that cannot be; no patient or no record is left; the message says
            which.
    """
    if not 0 < threshold < 100:
        raise ValueError(f"threshold={threshold}: choose a percentage between 0 and 100")
    if window_days < 0:
        raise ValueError(f"window_days={window_days}: choose 0 (the day of the ECG) or more")
    if (cohort is None) != (cohort_class is None):
        raise ValueError(
            f"cohort_class={cohort_class!r}: give a cohort and the column of it that must be 1, or neither"
        )
    table, measured = _measurements(measurements, archive, data_set, as_secret(salt))
    records = archive.manifest[["record_id", "patient_id"]].astype(object)
    records["day"] = archive.manifest["recorded_at"].astype("datetime64[us]").dt.normalize()
    records["selected"] = True
    if cohort is not None and cohort_class is not None:
        members = read_labels(cohort, archive, [cohort_class])
        records["selected"] = np.isin(np.arange(len(archive)), members.rows[members.targets[:, 0] == 1])

    dated = records[records["day"].notna()].reset_index(names="row").sort_values("day", kind="stable")
    found = pd.merge_asof(dated, table, left_on="day", right_on="measured_at", by="patient_id", direction="forward")
    records = records.join(found.set_index("row")[["measured_at", "lvef"]])
    records["days_to_measurement"] = (records["measured_at"] - records["day"]).dt.days
    reasons = {
        "not in the cohort": ~records["selected"],
        "no recording date": records["day"].isna(),
        "no measurement of the patient": ~records["patient_id"].isin(table["patient_id"]),
        "measurements only before the ECG": records["days_to_measurement"].isna(),
        f"first measurement more than {window_days} days after the ECG": records["days_to_measurement"] > window_days,
    }
    kept, left_out = _left_out(reasons)
    labels = records.loc[kept, ["record_id", "lvef"]].reset_index(drop=True)
    labels.insert(1, "low_lvef", (labels["lvef"] <= threshold).astype(int))
    labels["days_to_measurement"] = records.loc[kept, "days_to_measurement"].astype(int).to_numpy()
    ends = [("labelled", len(labels)), ("with a low ejection fraction", int(labels["low_lvef"].sum()))]
    counts = [*measured, *(("records", *row) for row in [("in the archive", len(records)), *left_out, *ends])]
    for of, what, count in counts:
        log.info("%s: %d %s", of, count, what)
    if labels.empty:
        worst = ", ".join(f"{count} {what}" for what, count in left_out if count)
        raise ValueError(f"none of {len(records)} records can be labelled: {worst}")
    return labels, pd.DataFrame(counts, columns=["of", "what", "count"])


def _measurements(
    table: pd.DataFrame | str | Path, archive: Archive, data_set: str | None, secret: bytes | None
) -> tuple[pd.DataFrame, list[tuple[str, str, int]]]:
    """Usable measurements, one a patient and day, by day, with the archive's ids; and what became of all of them."""
    scheme = archive.info.get("patient_ids", "plain")
    if secret is not None and scheme != id_scheme(secret):
        raise ValueError(
            f"salt: the patient ids of {archive.folder} are {scheme}, and this salt makes {id_scheme(secret)}"
        )
    name = "the table of measurements" if isinstance(table, pd.DataFrame) else str(table)
    given = table if isinstance(table, pd.DataFrame) else read_table(Path(table))
    if missing := [column for column in COLUMNS if column not in given]:
        raise ValueError(f"{name} has no column {', '.join(missing)}; it needs {', '.join(COLUMNS)}")
    texts = (given[column].astype("string").str.strip() for column in COLUMNS)
    patients, dates, percentages = (text.mask(text == "") for text in texts)
    prefixed = patients if data_set is None else data_set + "/" + patients
    # The day that was on the wall: the hour, and with it the time zone, is not looked at.
    days = pd.to_datetime(dates.str.extract(_DAY, expand=False), format="%Y-%m-%d", errors="coerce")
    frame = pd.DataFrame(
        {
            "patient_id": [None if pd.isna(p) else archived_id(p, secret) for p in prefixed],
            "measured_at": days,
            "lvef": pd.to_numeric(percentages, errors="coerce").to_numpy(np.float64, na_value=np.nan),
        }
    ).astype({"patient_id": object, "measured_at": "datetime64[us]"})
    _refuse_unread(name, dates, frame["measured_at"], "a date such as 2021-03-31")
    times = archive.info.get("times", "kept")
    if times == "shifted" and secret is not None:
        shifts = [pd.NaT if pd.isna(patient) else time_shift(patient, secret) for patient in prefixed]
        frame["measured_at"] += pd.Series(shifts, dtype="timedelta64[us]", index=frame.index)
    elif times != "kept":
        raise ValueError(
            f"the times of {archive.folder} are {'shifted: give the salt' if times == 'shifted' else 'years'}, and the "
            "measurements as they were; or ingest with times=kept"
        )
    _refuse_unread(name, percentages, frame["lvef"], "a number of percent")
    if frame["lvef"].max() <= 1:
        raise ValueError(f"lvef of {name} is at most {frame['lvef'].max():g}: give percent, not a share")
    reasons = {
        "no patient": frame["patient_id"].isna(),
        "no date": frame["measured_at"].isna(),
        "no ejection fraction": frame["lvef"].isna(),
        "ejection fraction not between 0 and 100 %": (frame["lvef"] <= 0) | (frame["lvef"] > 100),
        "of a patient who is not in the archive": ~frame["patient_id"].isin(archive.manifest["patient_id"]),
    }
    kept, left_out = _left_out(reasons)
    if not kept.any():
        worst = ", ".join(f"{count} {what}" for what, count in left_out if count)
        raise ValueError(
            f"{name} has no usable measurement: {worst or 'it is empty'}; an archive's patient ids begin with its data "
            f"set (see data_set), and those of {archive.folder} are {scheme} (see salt)"
        )
    lowest = frame[kept].sort_values(["measured_at", "lvef"]).drop_duplicates(["patient_id", "measured_at"])
    counts = [("in the table", len(frame)), *left_out, ("usable", int(kept.sum()))]
    return lowest, [("measurements", *row) for row in counts]


def _refuse_unread(name: str, given: pd.Series, read: pd.Series, wanted: str) -> None:
    unread = given[given.notna().to_numpy() & read.isna().to_numpy()]
    if len(unread):
        raise ValueError(
            f"column {given.name!r} of {name} must hold {wanted} or be blank; line {_position(given, unread) + 2} does "
            f"not ({len(unread)} such values)"
        )


def _position(given: pd.Series, unread: pd.Series) -> int:
    return int(np.flatnonzero(given.index == unread.index[0])[0])


def _left_out(reasons: Mapping[str, pd.Series]) -> tuple[NDArray[np.bool_], list[tuple[str, int]]]:
    """Which rows no reason leaves out, and how many each does, a row with several counting for the first."""
    holds = np.column_stack([reason.to_numpy(bool) for reason in reasons.values()])
    left_out: NDArray[np.bool_] = np.any(holds, axis=1)
    counts = np.bincount(holds.argmax(axis=1)[left_out], minlength=len(reasons))
    return ~left_out, list(zip(reasons, counts.tolist()))
