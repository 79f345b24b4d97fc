"""What records and files are called in an archive: by their paths, or, under a salt, by keyed ids.

The table that leads from the keyed ids back, ``ARCHIVE.ids.csv``, lies beside the archive and not in it, readable by
its owner alone: it stays at home when the archive is shared.
"""

from __future__ import annotations

import csv
import hashlib
import hmac
import os
from collections.abc import Iterable
from io import StringIO
from pathlib import Path

import pandas as pd

from ssl_ecg.archive.finding import Job
from ssl_ecg.archive.windows import split_name
from ssl_ecg.runs import write_atomically

SCHEME = "keyed"
SUFFIXES = frozenset(
    ".csv .dat .dcm .ecg .edf .h5 .hdf5 .hea .json .mat .npy .npz .pdf .scp .txt .xml .zip".split()  # noqa: SIM905
)
"""endings of names that say what a file is, and not whose"""
COLUMNS = ("record_id", "original", "reason")


def table_at_home(archive: Path) -> Path:
    """Return where the table lies that says what the records of an archive are called in its source."""
    archive = archive.resolve()
    return archive.with_name(f"{archive.name}.ids.csv")


class RecordIds:
    """Names records and files, and keeps what the names mean in the table at home.

    Args:
        archive: folder of the archive.
        secret: without one, everything keeps its name and there is no table.
    """

    def __init__(self, archive: Path, secret: bytes | None) -> None:
        self.secret, self.table = secret, table_at_home(archive)
        self._noted: list[tuple[str, str, str]] = []

    def record(self, record_id: str, job: Job | None) -> str:
        """Return the id of a record of a file: what stands before and after the file's ``#`` is hashed by itself."""
        if self.secret is None:
            return record_id
        file = job.record_id if job is not None else record_id
        inner = record_id[len(file) + 1 :]
        return self._key(file) + (f"#{self._key(inner)}" if inner else "")

    def path(self, path: str, job: Job | None) -> str:
        """Return what a file, or a record of it, is called in ``rejected.csv``; known suffixes stay."""
        if self.secret is None:
            return path
        file = job.path if job is not None else path
        stem, suffix = os.path.splitext(file)
        known = suffix.lower() in SUFFIXES
        inner = path[len(file) + 1 :]
        return (self._key(stem) + suffix if known else self._key(file)) + (f"#{self._key(inner)}" if inner else "")

    def told(self, reason: str) -> str:
        """Return a reason as ``rejected.csv`` gives it: under a salt its kind alone, since details name files."""
        return reason if self.secret is None else reason.partition(":")[0]

    def note(self, name: str, original: str, reason: str = "") -> None:
        """Remember what a name means."""
        if self.secret is not None:
            self._noted.append((name, original, reason))

    def keep(self) -> None:
        """Add what was noted to the table; before the records are committed, so that a kill loses no meaning."""
        if not self._noted:
            return
        with open(os.open(self.table, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "r+b") as file:
            there = file.seek(0, os.SEEK_END)
            if there:
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # a kill can cut a row off
                    file.write(b"\n")
            text = StringIO()
            csv.writer(text, lineterminator="\n").writerows(self._noted if there else [COLUMNS, *self._noted])
            file.write(text.getvalue().encode("utf-8", "surrogateescape"))
            file.flush()
            os.fsync(file.fileno())
        self._noted = []

    def finish(self) -> None:
        """Put the table in order, each name once."""
        self.keep()
        if self.secret is None or not self.table.exists():
            return
        rows = {row[0]: row for row in read_ids(self.table)}
        text = StringIO()
        csv.writer(text, lineterminator="\n").writerows([COLUMNS, *(rows[name] for name in sorted(rows))])
        write_atomically(self.table, text.getvalue().encode("utf-8", "surrogateescape"), mode=0o600)

    def _key(self, text: str) -> str:
        assert self.secret is not None
        made = hmac.new(self.secret, b"record " + text.encode("utf-8", "surrogateescape"), hashlib.sha256)
        return made.hexdigest()[:32]


def read_ids(table: Path) -> Iterable[tuple[str, str, str]]:
    """Yield name, original and reason of each row of the table at home; a row that a kill cut off is left out."""
    with table.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        for row in csv.reader(file):
            if len(row) == len(COLUMNS) and tuple(row) != COLUMNS:
                yield row[0], row[1], row[2]


def renamed(archive: Path, record_ids: pd.Series) -> pd.Series:
    """Return record ids as an archive has them: those of its source are looked up in the table at home.

    Args:
        archive: folder of an archive with keyed ids.
        record_ids: of either kind.
    """
    table = table_at_home(archive)
    if not table.is_file():
        return record_ids
    keyed = dict(_record_of(*row) for row in read_ids(table))
    return record_ids.map(lambda name: keyed.get(name, name))


def _record_of(name: str, original: str, reason: str) -> tuple[str, str]:
    """Return the record id that a row of the table is about, in the source and in the archive; of a file, its own."""
    (named, window), (called, _) = split_name(name), split_name(original)
    file, mark, inner = named.partition("#")
    stem, suffix = os.path.splitext(file)
    if not reason or not suffix:
        return original, name
    before, _, after = called.rpartition(suffix)
    return before + after + window, stem + mark + inner + window
