"""What lies below a folder: recordings to read, what data sets say of them, and every other file with a reason."""

from __future__ import annotations

import logging
import os
import re
import stat
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from ssl_ecg.records import READERS, Reader, RecordError
from ssl_ecg.records.formats import companions, reader_of
from ssl_ecg.sources import SOURCES, Entry, MissingTableError, Source, SourceError

# Names that a CSV file or a manifest could not hold: control characters, and bytes that are no UTF-8.
_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")

MAX_PATH = 4096  # of Linux

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """A file to read, or one that became nothing, with the reason.

    Attributes:
        path: below the source.
        reader: reads it; None where there is a reason.
        reason: why it is rejected without being read.
        source: name of the folder that is ingested and of the data set in it.
        patients: put before patient ids.
        listed: whether a data set lists it among its recordings.
        skip: how many of its records were dealt with before.
    """

    path: str
    reader: Reader | None = None
    reason: str | None = None
    source: str = ""
    patients: str = ""
    listed: bool = False
    skip: int = 0

    @property
    def record_id(self) -> str:
        """The id of its record, or what the ids of its records begin with; "" where it is no recording."""
        return _without_suffix(self.path) if self.reader is not None or self.listed else ""


@dataclass(frozen=True)
class Found:
    """What lies below a folder.

    Attributes:
        jobs: every file that is neither part of another one's recording nor a table, in the order of their paths.
        files: all files, those without a job too.
        entries: what data sets say of records, by record id.
        labels: label tables by name.
    """

    jobs: list[Job]
    files: set[str]
    entries: dict[str, Entry]
    labels: dict[str, pd.DataFrame]


def find(source: Path, sampling_rate: float, archive: Path, patients: Path | None = None) -> Found:
    """Walk a folder once and account for every file in it.

    Args:
        source: the folder.
        sampling_rate: wanted rate in Hz, by which one of several files of an ECG is chosen.
        archive: folder that may lie below ``source`` and is not looked into.
        patients: table that may lie below ``source`` and is no recording.

    Raises:
        FileNotFoundError: there is no folder, no recording in it, or a table of a data set is missing.
    """
    if not source.is_dir():
        raise FileNotFoundError(f"source={str(source)!r}: is not a folder; give one that holds recordings")
    paths, folders, reasons = _walk(source, archive)
    files = set(paths)
    if patients is not None and patients.resolve().is_relative_to(source.resolve()):
        files.discard(patients.resolve().relative_to(source.resolve()).as_posix())
    readers: dict[str, Reader] = {}
    for path in files:
        try:
            readers[path] = reader_of(source / path)
        except RecordError as error:
            reasons[path] = sys.intern(str(error))  # a million files need not each keep the same text
    known = _Known(source, sampling_rate, readers)
    for folder, here in folders.items():
        names = frozenset(path.rpartition("/")[2] for path in paths[here])
        for name, data_set in SOURCES.usable():
            known.ask(name, data_set, folder, names)
    del paths

    beside = (companions(source, files, readers) | known.others) - known.listed.keys() | known.tables
    jobs = {path: Job(path, reason=reason) for path, reason in reasons.items() if path not in beside}
    jobs |= {path: Job(path, reason=f"broken table: {detail}") for path, detail in known.broken.items()}
    for path in chain(readers, known.listed):
        if path not in beside:
            why_not = reasons.get(path, "missing file: it is listed, but not there")
            jobs[path] = known.job(path, readers.get(path), why_not)
    if not any(job.record_id for job in jobs.values()):
        lost = next((f", such as {job.path} ({job.reason})" for job in jobs.values() if _lost(job)), "")
        raise FileNotFoundError(
            f"source={str(source)!r}: holds no recording, {len(files)} files are of no format that is read "
            f"({', '.join(READERS.names())}){lost}; give another folder"
        )
    labels = {name: pd.concat(tables) for name, tables in known.labels.items()}
    ordered = _without_duplicates(sorted(jobs.values(), key=lambda job: job.path))
    return Found(ordered, files | jobs.keys(), known.entries, labels)


def file_of(name: str, known: dict[str, Job]) -> Job | None:
    """Return the file that a record id, or the path of a rejected record, is of: what stands before ``#`` or ``@``."""
    while name not in known and (mark := max(name.rfind("#"), name.rfind("@"))) >= 0:
        name = name[:mark]
    return known.get(name)


def _lost(job: Job) -> bool:
    return job.reason is not None and not job.reason.startswith("unknown format")


def _without_duplicates(jobs: list[Job]) -> list[Job]:
    """Refuse each recording that has the record id of an earlier one."""
    seen: set[str] = set()
    for i, job in enumerate(jobs):
        if job.record_id in seen:
            jobs[i] = Job(job.path, reason=f"duplicate record id: {job.record_id}")
        seen |= {job.record_id} - {""}
    return jobs


def _walk(source: Path, archive: Path) -> tuple[list[str], dict[str, slice], dict[str, str]]:
    """Return all regular files, which of them each folder has, and the reasons of all else that is not looked into."""
    paths: list[str] = []
    folders: dict[str, slice] = {}
    reasons: dict[str, str] = {}

    def closed(error: OSError) -> None:
        reasons[_below(source, error.filename) or "."] = f"unreadable: {error.strerror}"

    for here, inside, files in os.walk(source, onerror=closed):
        folder = _below(source, here)
        for name in list(inside):
            path = _under(folder, name)
            if os.path.realpath(source / path) == os.path.realpath(archive):
                inside.remove(name)
            elif reason := _unwritable(name) or _linked(source / path):
                inside.remove(name)
                reasons[_shown(path)] = reason
        inside.sort()
        first = len(paths)
        for name in sorted(files):
            path = _under(folder, name)
            if reason := _unwritable(name) or _irregular(source / path):
                reasons[_shown(path)] = reason
            else:
                paths.append(path)
        folders[folder] = slice(first, len(paths))
    return paths, folders, reasons


def _below(source: Path, path: str) -> str:
    below = Path(path).relative_to(source).as_posix()
    return "" if below == "." else below


def _under(folder: str, name: str) -> str:
    # Not by pathlib, which would intern every name, in a table that does not shrink: half a kilobyte a file.
    return f"{folder}/{name}" if folder else name


def _join(folder: str, name: str) -> str:
    return str(PurePosixPath(folder, name))


def _without_suffix(path: str) -> str:
    stem, suffix = os.path.splitext(path)
    return stem if len(suffix) > 1 else path


def _unwritable(name: str) -> str | None:
    return "file name: holds control characters or is not UTF-8, rename it" if _UNWRITABLE.search(name) else None


def _shown(path: str) -> str:
    return _UNWRITABLE.sub(lambda match: ascii(match[0])[1:-1], path)


def _linked(folder: Path) -> str | None:
    return "not a regular file: a link to a folder, which is not followed" if folder.is_symlink() else None


def _irregular(path: Path) -> str | None:
    try:
        regular = stat.S_ISREG(path.stat().st_mode)
    except OSError as error:
        return f"not a regular file: {error.strerror}"
    return None if regular else "not a regular file"


class _Known:
    """What data sets say of the files below a folder."""

    def __init__(self, source: Path, sampling_rate: float, readers: dict[str, Reader]) -> None:
        self.source, self.sampling_rate, self.readers = source, sampling_rate, readers
        self.name = source.resolve().name
        self.folders: dict[str, str] = {}  # those that list their recordings, with what is wrong with the list
        self.listed: dict[str, str] = {}  # their recordings, with the folder
        self.others: set[str] = set()  # the same ECGs at other rates
        self.tables: set[str] = set()
        self.broken: dict[str, str] = {}
        self.entries: dict[str, Entry] = {}
        self.labels: dict[str, list[pd.DataFrame]] = {}

    def ask(self, name: str, known: Source, folder: str, files: frozenset[str]) -> None:
        """Take what a data set says of a folder, if that is its own."""
        renamed: dict[str, str] = {}
        try:
            if not known.detect(self.source / folder, files):
                return
        except Exception as error:
            self._broke(name, known, folder, error)
            return
        self.tables |= {_join(folder, table) for table in known.tables}
        try:
            if (entries := known.records(self.source / folder)) is not None:
                self.folders[folder] = f"not listed: {name} does not name this recording"
                outside = []
                for number, entry in enumerate(entries, start=1):
                    if all(map(_is_inside, (entry.path, *entry.rates.values()))):
                        renamed |= self._list(entry, folder)
                    else:
                        outside.append(number)
                if outside:
                    told = f"its recording {outside[0]} lies outside of its folder, which is never left"
                    told += f" ({len(outside)} such recordings)" if len(outside) > 1 else ""
                    self._broke(name, known, folder, SourceError(next(iter(known.tables), ""), told))
        except Exception as error:
            self._broke(name, known, folder, error)
            self.folders[folder] = f"broken table: {name} cannot say whose this recording is"
        try:
            labels: Mapping[str, pd.DataFrame] = known.labels(self.source / folder)
        except Exception as error:
            self._broke(name, known, folder, error)
            labels = error.made if isinstance(error, SourceError) else {}
        try:
            for table, frame in labels.items():
                ids = [_join(folder, str(record_id)) for record_id in frame["record_id"]]
                frame = frame.assign(record_id=[renamed.get(record_id, record_id) for record_id in ids])
                frame = frame[np.array([_is_inside(record_id) for record_id in ids], dtype=bool)]
                self.labels.setdefault(table, []).append(frame)
        except Exception as error:
            self._broke(name, known, folder, error)

    def _list(self, entry: Entry, folder: str) -> dict[str, str]:
        """Take one entry; return by what name labels call it if another of its files was chosen."""
        rates = {rate: _join(folder, path) for rate, path in entry.rates.items()}
        there = {rate: path for rate, path in rates.items() if path in self.readers}
        enough = [rate for rate in there if rate >= self.sampling_rate]
        named = chosen = _join(folder, entry.path)
        if there:
            chosen = there[min(enough) if enough else max(there)]
        inner = f"#{entry.record_id}" if entry.record_id else ""
        self.listed.setdefault(chosen, folder)
        self.others |= {*rates.values(), named} - {chosen}
        self.entries.setdefault(_without_suffix(chosen) + inner, entry)
        return {_without_suffix(named) + inner: _without_suffix(chosen) + inner}

    def _broke(self, name: str, known: Source, folder: str, error: Exception) -> None:
        if isinstance(error, MissingTableError):
            missing = _join(folder, error.table)
            raise FileNotFoundError(f"source={str(self.source)!r}: {missing} {error.detail}") from error
        if isinstance(error, SourceError):
            table, detail = error.table, error.detail
        else:
            table, detail = next(iter(known.tables), ""), f"{name} cannot read it ({type(error).__name__})"
            log.debug("%s", folder, exc_info=error)
        path = _join(folder, table)
        log.warning("%s: broken table: %s", self.source / path, detail)
        self.broken.setdefault(path, detail)

    def job(self, path: str, reader: Reader | None, reason: str) -> Job:
        """Return what there is to do with a recording; ``reason`` says what is wrong where no reader reads it."""
        folder = self.listed.get(path)
        if folder is not None:
            if reader is None:
                return Job(path, reason=reason, listed=True)
            source = sys.intern(str(PurePosixPath(self.name, folder)))
            patients = sys.intern((self.source / folder).resolve().name)
            return Job(path, reader, None, source, patients, listed=True)
        for parent in _parents(path):
            if parent in self.folders:
                return Job(path, reason=self.folders[parent])
        source = str(PurePosixPath(self.name, *PurePosixPath(path).parts[:-1][:1]))
        return Job(path, reader, None, sys.intern(source), self.name)


def _is_inside(path: str) -> bool:
    """Tell whether a path of a table stays below the folder of the table, and can be the name of a file."""
    parts = PurePosixPath(path)
    known = parts.name and not (parts.is_absolute() or ".." in parts.parts or "\\" in path or _UNWRITABLE.search(path))
    return bool(known) and len(path) <= MAX_PATH


def _parents(path: str) -> Iterator[str]:
    for parent in PurePosixPath(path).parents:
        yield "" if str(parent) == "." else str(parent)
