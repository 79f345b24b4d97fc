"""Labels from echocardiography: was the left ventricular ejection fraction (LVEF) low soon after the ECG?

The label of an ECG is its patient's first measurement from the day of the ECG to the end of a window (Lampert et al.,
JACC Clinical Electrophysiology 2023: at most 40 % within six months). An earlier measurement says nothing: neither does
it label the ECG nor exclude it. Every ECG is labelled by itself, so that one measurement may label several ECGs of its
patient; splits and intervals go by patient. An ECG that cannot be labelled is left out and counted with its reason.

The same measurements say when a low ejection fraction was first seen, for Cox regression of those that are labelled.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from ssl_ecg.archive.archive import Archive
from ssl_ecg.labels.hospital import (
    Counts,
    TableLike,
    counted,
    hospital_table,
    left_out,
    records_of,
    refuse_unread,
    require_some,
)


def lvef_labels(
    archive: Archive,
    measurements: TableLike,
    threshold: float = 40.0,
    window_days: int = 183,
    cohort: TableLike | None = None,
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
        ``days_to_measurement``; then, whatever the window, ``time_days`` to the first low measurement (``event`` 1) or,
        where none was, to the last of all (``event`` 0), and ``prevalent``, 1 where one before the ECG was low; and the
        counts: ``of`` ("measurements" or "records"), ``what`` (all of them, the
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
    table, measured = _measurements(measurements, archive, data_set, salt)
    records = records_of(archive, cohort, cohort_class)
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
    kept, out = left_out(reasons)
    labels = records.loc[kept, ["record_id", "lvef"]].reset_index(drop=True)
    labels.insert(1, "low_lvef", (labels["lvef"] <= threshold).astype(int))
    labels["days_to_measurement"] = records.loc[kept, "days_to_measurement"].astype(int).to_numpy()
    labels = labels.join(_follow_up(records[kept].reset_index(drop=True), table, threshold))
    ends = [("labelled", len(labels)), ("with a low ejection fraction", int(labels["low_lvef"].sum()))]
    return labels, counted(measured, len(records), out, ends)


def _follow_up(records: pd.DataFrame, table: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Return ``time_days``, ``event`` and ``prevalent`` of records that have a later measurement."""
    low = table[table["lvef"] <= threshold]
    ordered = records[["patient_id", "day"]].reset_index(names="row").sort_values("day", kind="stable")
    found = pd.merge_asof(
        ordered, low[["patient_id", "measured_at"]], left_on="day", right_on="measured_at", by="patient_id",
        direction="forward",
    )  # fmt: skip
    event = found.set_index("row")["measured_at"].reindex(records.index)
    end = event.fillna(records["patient_id"].map(table.groupby("patient_id")["measured_at"].max()))
    before = records["patient_id"].map(low.groupby("patient_id")["measured_at"].min()) < records["day"]
    return pd.DataFrame(
        {
            "time_days": (end - records["day"]).dt.days.astype(int),
            "event": event.notna().astype(int),
            "prevalent": before.astype(int),
        }
    )


def _measurements(
    table: TableLike, archive: Archive, data_set: str | None, salt: str | bytes | None
) -> tuple[pd.DataFrame, Counts]:
    """Usable measurements, one a patient and day, by day, with the archive's ids; and what became of all of them."""
    name, frame = hospital_table(table, "measurements", archive, ["measured_at"], ["lvef"], (), data_set, salt)
    percentages = frame["lvef"]
    frame["lvef"] = pd.to_numeric(percentages, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    refuse_unread(name, percentages, frame["lvef"], "a number of percent")
    if frame["lvef"].max() <= 1:
        raise ValueError(f"lvef of {name} is at most {frame['lvef'].max():g}: give percent, not a share")
    reasons = {
        "no patient": frame["patient_id"].isna(),
        "no date": frame["measured_at"].isna(),
        "no ejection fraction": frame["lvef"].isna(),
        "ejection fraction not between 0 and 100 %": (frame["lvef"] <= 0) | (frame["lvef"] > 100),
        "of a patient who is not in the archive": ~frame["patient_id"].isin(archive.manifest["patient_id"]),
    }
    kept, out = left_out(reasons)
    require_some(name, "measurement", archive, kept, out)
    lowest = frame[kept].sort_values(["measured_at", "lvef"]).drop_duplicates(["patient_id", "measured_at"])
    counts = [("in the table", len(frame)), *out, ("usable", int(kept.sum()))]
    return lowest, [("measurements", *row) for row in counts]
