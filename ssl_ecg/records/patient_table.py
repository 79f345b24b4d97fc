"""A table beside arrays that says whose each record is: any separator, BOM, and the usual names of columns."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from ssl_ecg.records.array_files import delimiter_of
from ssl_ecg.records.markup import decode
from ssl_ecg.records.naming import age_of, sex_of
from ssl_ecg.records.record import RecordError

MAX_BYTES = 2**30

# What columns are called where the description does not say so, in lower case.
_USUAL = {
    "patient_id": ("patient_id", "patientid", "patient", "subject_id"),
    "age": ("age",),
    "sex": ("sex", "gender"),
    "recorded_at": ("recorded_at", "date", "recording_date"),
}
_KEYS = ("record_id", "exam_id", "ecg_id", "file", "filename", "id")


class PatientTable:
    """Rows of a CSV file by what identifies a record.

    Args:
        path: the file.
        key: column that identifies records; empty for the usual names, ``row`` counts from 0.
        columns: names of the columns of ``patient_id``, ``age``, ``sex``, ``recorded_at`` where they are not the usual.

    Attributes:
        by_row: whether rows are told by the number of the record in the array.

    Raises:
        RecordError: there is no such file or column.
    """

    def __init__(self, path: Path, key: str = "", columns: Mapping[str, str] | None = None) -> None:
        self.name = path.name
        if not path.is_file():
            raise RecordError("missing file", f"the table {path.name} is not there")
        if path.stat().st_size > MAX_BYTES:
            raise RecordError("too large", f"the table has more than {MAX_BYTES >> 20} MiB")
        lines = decode(path.read_bytes()).lstrip("\ufeff").splitlines()
        rows = csv.reader(lines, delimiter=delimiter_of(lines[0] if lines else ""))
        header = [cell.strip() for cell in next(rows, [])]
        lower = [name.lower() for name in header]
        columns = columns or {}
        if strange := sorted(set(columns) - set(_USUAL)):
            raise RecordError("description", f"columns: {', '.join(strange)[:80]} is none of {', '.join(_USUAL)}")
        self.by_row = not key and "row" in lower
        wanted = (key.lower(),) if key else ("row",) if self.by_row else _KEYS
        found = [lower.index(name) for name in wanted if name in lower]
        if not found:
            raise RecordError("table", f"{path.name} has no column {' or '.join(wanted)}; name it with id:")
        self._columns = {what: self._column(what, lower, columns) for what in _USUAL}
        self._male = lower.index("is_male") if self._columns["sex"] is None and "is_male" in lower else None
        self._rows: dict[str, list[str] | None] = {}
        for row in rows:
            if len(row) == len(header):
                name = _key(row[found[0]])
                self._rows[name] = None if name in self._rows else row

    def _column(self, what: str, header: list[str], named: Mapping[str, str]) -> int | None:
        if what in named:
            if named[what].lower() not in header:
                raise RecordError("table", f"{self.name} has no column {named[what]}, which columns: names for {what}")
            return header.index(named[what].lower())
        return next((header.index(name) for name in _USUAL[what] if name in header), None)

    def facts(self, record: str) -> dict[str, Any]:
        """Return what the table says of a record: ``patient_id``, ``age``, ``sex``, ``recorded_at``.

        Raises:
            RecordError: it has no row for it, or several.
        """
        row = self._rows.get(_key(record), ())
        if row is None:
            raise RecordError("table", f"{self.name} has several rows for this record")
        if not row:
            raise RecordError("table", f"{self.name} has no row for this record")
        said = {what: "" if column is None else row[column].strip() for what, column in self._columns.items()}
        sex = sex_of(said["sex"])
        if self._male is not None:
            sex = {"true": "male", "1": "male", "false": "female", "0": "female"}.get(row[self._male].strip().lower())
        return {
            "patient_id": said["patient_id"] or None,
            "age": age_of(said["age"]),
            "sex": sex,
            "recorded_at": _moment(said["recorded_at"]),
        }


def _key(text: str) -> str:
    """Return an identifier as it is compared: numbers that a spreadsheet made 501.0 are 501."""
    return text.strip().removesuffix(".0")


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=None)
    except ValueError:
        return None
