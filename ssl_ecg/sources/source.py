"""What a known data set is: how its folder is recognised, whose the recordings are, and which labels come along."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pandas as pd

from ssl_ecg.registry import Registry

MAX_TABLE_BYTES = 2_000_000_000  # the largest, of 800,000 records, has 200 MB


class SourceError(ValueError):
    """A table of a data set that cannot be used.

    Args:
        table: its path below the folder of the data set.
        detail: what is wrong with it; never what stands in it, which may be about a person.
        made: label tables that could be made nevertheless.
    """

    def __init__(self, table: str, detail: str, made: Mapping[str, pd.DataFrame] | None = None) -> None:
        super().__init__(table, detail)
        self.table, self.detail, self.made = table, detail, dict(made or {})

    def __str__(self) -> str:
        return f"{self.table}: {self.detail}"


class MissingTableError(SourceError):
    """A table that a data set consists of and that is not there: it can be had, so nothing is read without it."""


class Faults:
    """Cells of a table that cannot be used: each costs what it would have said, and they are told at the end.

    Args:
        table: its path below the folder of the data set.
    """

    def __init__(self, table: str) -> None:
        self.table, self._first, self._count = table, "", 0

    def note(self, line: int, column: str, detail: str) -> None:
        """Remember a cell, by its line in the file, counted from 1."""
        self._first = self._first or f"line {line}: {column} {detail}"
        self._count += 1

    def tell(self, made: Mapping[str, pd.DataFrame] | None = None) -> None:
        """Raise a ``SourceError`` where there was one, with what could be made nevertheless."""
        if self._count:
            more = f" ({self._count} such cells)" if self._count > 1 else ""
            raise SourceError(self.table, self._first + more, made)


@dataclass(frozen=True)
class Entry:
    """What a data set says of one recording; what is None is taken from the file.

    Attributes:
        path: of its file, below the folder of the data set.
        patient_id: of whom it is.
        age: in years.
        sex: "female", "male" or None.
        recorded_at: when it was recorded.
        record_id: which record of its file is meant; empty: all of them.
        rates: where files hold the same ECG at several sampling rates, their paths by the rate in Hz, ``path`` among
            them. That of the lowest rate that is enough is read; label tables name ``path``, whichever it is.
    """

    path: str
    patient_id: str | None = None
    age: float | None = None
    sex: str | None = None
    recorded_at: datetime | None = None
    record_id: str = ""
    rates: Mapping[float, str] = field(default_factory=dict)


def _found_by_themselves(folder: Path) -> None:
    return None


def _no_labels(folder: Path) -> dict[str, pd.DataFrame]:
    return {}


@dataclass(frozen=True)
class Source:
    """A known data set; wherever its layout stands, ingest needs nothing else to be told.

    Whatever these functions raise costs a line in the log and one in ``rejected.csv``, never the ingest; entries that
    were yielded before, and tables that a ``SourceError`` brings, are taken. Only a ``MissingTableError`` ends it,
    before any signal is read.

    Attributes:
        detect: ``detect(folder, files)`` tells by the names of the files in a folder, or by what stands in them,
            whether the folder is of this data set.
        records: ``records(folder)`` lists the recordings below the folder; what is below it and not listed is rejected,
            since nobody could tell whose it is. None: they are found by themselves, each with what its file says.
        labels: ``labels(folder)`` returns label tables by name, with ``record_id`` relative to the folder. One with
            columns ``begin`` and ``end`` (seconds) says what was when; ingest makes labels of windows of it.
        tables: names of files in the folder that these functions read, so that nobody takes them for recordings.
    """

    detect: Callable[[Path, frozenset[str]], bool]
    records: Callable[[Path], Iterable[Entry] | None] = _found_by_themselves
    labels: Callable[[Path], dict[str, pd.DataFrame]] = _no_labels
    tables: tuple[str, ...] = ()


SOURCES: Registry[Source] = Registry("source", "ssl_ecg.sources")
register = SOURCES.register


def read_csv(folder: Path, table: str, columns: Iterable[str], use: str = "") -> pd.DataFrame:
    """Read a table of a data set, every value as text, blank where nothing stands.

    Bytes that are no UTF-8 are replaced: reports in Latin-1 are no reason to lose the columns that matter.

    Args:
        folder: of the data set.
        table: path of the file below it.
        columns: that it must have.
        use: what it is for, told where it is not there: "it ...".

    Raises:
        MissingTableError: it is not there.
        SourceError: it is no table, or lacks one of the columns.
    """
    path = folder / table
    if not path.is_file():
        told = f"is not there{use and f', it {use}'}; download it from where the recordings come from"
        raise MissingTableError(table, told)
    if path.stat().st_size > MAX_TABLE_BYTES:
        raise SourceError(table, f"has more than {MAX_TABLE_BYTES:,} bytes")
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding_errors="replace")
    except (ValueError, OSError) as error:  # those of pandas and of decoding are ValueErrors
        raise SourceError(table, f"is no table ({type(error).__name__})") from error
    if missing := sorted(set(columns) - set(frame.columns)):
        used = next((mark for mark in (";", "\t", "|") if mark in str(frame.columns[0])), None)
        mend = (
            f"; its columns are separated by {used!r}, save it with commas" if used and len(frame.columns) < 3 else ""
        )
        raise SourceError(table, f"lacks the columns {', '.join(missing)}{mend}")
    return frame.fillna("")
