"""Whose the records are: what a table, a data set and the files themselves say, the table first."""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from ssl_ecg.archive.finding import Job
from ssl_ecg.archive.patient_ids import Times, archived_id, told_age, told_time
from ssl_ecg.archive.writer import COLUMNS
from ssl_ecg.records import RecordError
from ssl_ecg.runs import unescaped
from ssl_ecg.sources import Entry

PERSONAL = ("patient_id", "recorded_at", "age", "sex")

_SEX = {"female": "female", "f": "female", "male": "male", "m": "male"}

log = logging.getLogger(__name__)


class Patients:
    """What is known of records beside what their files say.

    Args:
        entries: what data sets say, by record id.
        table: path of a CSV or Parquet file, or a table: ``record_id`` and any of ``patient_id``, ``recorded_at``,
            ``age``, ``sex`` and further columns.
        secret: by which patient ids are hashed, or None.
        times: what is told of them under a secret.

    Attributes:
        columns: the further columns of the table, by record id; numbers in types that know blanks.
        digest: SHA-256 of the table, or "" without one.

    Raises:
        FileNotFoundError: the table is not there.
        ValueError: a column or a value cannot be; the message names file, column and value.
    """

    def __init__(
        self,
        entries: Mapping[str, Entry],
        table: str | Path | pd.DataFrame | None,
        secret: bytes | None,
        times: Times = "shifted",
    ) -> None:
        self.entries, self.secret, self.times = entries, secret, times
        frame = pd.DataFrame({"record_id": []}) if table is None else _read(table)
        name = "a table" if isinstance(table, pd.DataFrame) else str(table)
        frame = _checked(frame, f"patients={name}")
        self.digest = "" if table is None else hashlib.sha256(frame.to_csv().encode()).hexdigest()
        self.columns = frame.drop(columns=[column for column in PERSONAL if column in frame])
        personal = frame[[column for column in PERSONAL if column in frame]].astype(object)
        self.said: dict[str, dict[str, Any]] = {
            str(record_id): {str(column): value for column, value in row.items() if not pd.isna(value)}
            for record_id, row in zip(personal.index, personal.to_dict("records"))
        }

    def complete(self, job: Job, row: dict[str, Any]) -> dict[str, Any]:
        """Return a row of the manifest with what is known beside its file, and the patient's id as archives hold it.

        Raises:
            RecordError: the data set lists its recordings, but not this one.
        """
        record_id, start = row["record_id"], timedelta(seconds=row["start"])
        entry = self.entries.get(record_id) or self.entries.get(job.record_id)
        if entry is None and job.listed:
            raise RecordError("not listed", f"{record_id} is no record that the data set names")
        said = {name: value for name in PERSONAL if (value := getattr(entry, name, None)) is not None}
        row = {**row, **said, **self.said.get(record_id, {})}
        known = row["patient_id"] is not None and bool(str(row["patient_id"]).strip())
        patient = row["patient_id"] if known else record_id
        recorded_at = None if row["recorded_at"] is None else row["recorded_at"] + start
        return {
            **row,
            "patient_id": self.archived(job, patient),
            "patient_known": known,
            "age": told_age(row["age"], self.secret),
            "recorded_at": told_time(recorded_at, _identity(job, patient), self.secret, self.times),
        }

    def archived(self, job: Job, patient_id: object) -> str:
        """Return the id of a patient as archives hold it: after the name of the folder, hashed under a salt."""
        return archived_id(_identity(job, patient_id), self.secret)


def _identity(job: Job, patient_id: object) -> str:
    return f"{job.patients}/{patient_id}"


def _read(table: str | Path | pd.DataFrame) -> pd.DataFrame:
    if isinstance(table, pd.DataFrame):
        return table
    path = Path(table)
    if not path.is_file():
        raise FileNotFoundError(f"patients={path}: there is no such table")
    try:
        if path.suffix.lower() == ".csv":
            return unescaped(pd.read_csv(path, converters={"record_id": str, "patient_id": str}))
        if path.suffix.lower() == ".parquet":
            return pd.read_parquet(path)
    except (ValueError, OSError) as error:
        told = type(error).__name__  # its text quotes the file
        raise ValueError(f"patients={path}: cannot be read ({told}); give a CSV or Parquet file, in UTF-8") from error
    raise ValueError(f"patients={path}: is no table that can be read; give .csv or .parquet")


def _checked(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Check a table and return it with ``record_id`` as its index, every column of one type."""
    if "record_id" not in frame:
        raise ValueError(f"{name}: has no column record_id, only {', '.join(map(str, frame.columns[:8]))}")
    names = [str(column) for column in frame.columns]
    own = {*COLUMNS, "part", "row", "signal"} - {"record_id", *PERSONAL}
    if taken := [column for column in names if column in own or names.count(column) > 1]:
        raise ValueError(f"{name}: column {taken[0]!r} stands there twice or is one that ingest writes; rename it")
    ids = _text(frame["record_id"])
    if ids.isna().any():
        raise ValueError(f"{name}: record_id is blank in {_place(ids.isna())}; name a record in each row")
    if (twice := ids.duplicated()).any():
        raise ValueError(f"{name}: record_id of {_place(twice)} stands there twice; keep one row per record")
    columns = {}
    for column in frame:
        if column != "record_id":
            check = {"patient_id": _text, "age": _ages, "sex": _sexes, "recorded_at": _dates}.get(str(column), _plain)
            try:
                columns[str(column)] = check(frame[column]).array
            except ValueError as error:
                raise ValueError(f"{name}: column {column}, {error}") from None
    return pd.DataFrame(columns, index=pd.Index(ids, dtype=object))


def _place(wrong: pd.Series) -> str:
    """Say where the first wrong value stands; the value itself may be anything, and is not quoted."""
    return f"line {int(wrong.to_numpy(bool).argmax()) + 2}"


def _text(values: pd.Series) -> pd.Series:
    """Return ids as text, None where blank; whole numbers that blanks have made floats lose their ``.0``."""
    if pd.api.types.is_float_dtype(values):
        values = values.convert_dtypes()
    return values.map(lambda value: None if pd.isna(value) else str(value).strip() or None).astype(object)


def _ages(values: pd.Series) -> pd.Series:
    years = pd.to_numeric(values, errors="coerce").astype("float64")
    wrong = (years.isna() & _text(values).notna()) | (years < 0) | (years > 120)
    if wrong.any():
        raise ValueError(f"{_place(wrong)}: is no age in years; give a number from 0 to 120, or nothing")
    return years


def _sexes(values: pd.Series) -> pd.Series:
    text = _text(values)
    sexes = text.map(lambda value: None if value is None else _SEX.get(value.lower(), "")).astype(object)
    if (wrong := sexes == "").any():
        raise ValueError(f"{_place(wrong)}: is no sex that is known; give female, male, F, M, or nothing")
    return sexes


def _dates(values: pd.Series) -> pd.Series:
    dates: list[datetime | None] = []
    for number, text in enumerate(_text(values), start=2):
        try:
            # Whatever the zone, the clock of the place counts.
            dates.append(None if text is None else datetime.fromisoformat(text).replace(tzinfo=None))
        except ValueError:
            raise ValueError(f"line {number}: is no date; write 2021-03-31 or 2021-03-31 14:05, or nothing") from None
    return pd.Series(dates, dtype="datetime64[us]")


def _plain(values: pd.Series) -> pd.Series:
    """Return a column as it is, in a type that holds blanks too, since records may be in no row of the table."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype)
    values = values.astype("string") if values.isna().all() else values.convert_dtypes()
    try:
        values.to_frame("values").to_parquet(io.BytesIO())
    except Exception as error:
        raise ValueError("line 2 and others: are of no type that Parquet holds; give numbers, text or dates") from error
    return values
