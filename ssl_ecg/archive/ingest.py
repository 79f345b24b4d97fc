"""Many files in, one archive out: in parallel, resumable, and never stopped by a bad file."""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ssl_ecg.archive.archive import Archive
from ssl_ecg.archive.patient_ids import archived_id, as_secret, id_scheme
from ssl_ecg.archive.writer import COLUMNS, ArchiveWriter, quantise
from ssl_ecg.records import READERS, QualityLimits, RecordError, check_quality, read_record
from ssl_ecg.signals import SignalSettings, condition
from ssl_ecg.sources.cpsc2018 import CPSC2018
from ssl_ecg.sources.ludb import LUDB, TABLE
from ssl_ecg.sources.ptbxl import DATABASE, PTBXL

FILES_PER_PART = 2048  # some 50 MB at 100 Hz, 250 MB at 500 Hz; what a kill can cost
FILES_PER_TASK = 16

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class IngestReport:
    """What became of the files of a source.

    Attributes:
        accepted: Records that this ingest added to the archive.
        rejected: Files that did not become records; ``rejected.csv`` in the archive names them.
        skipped: Records that were in the archive before.
        reasons: How often each kind of reason led to a rejection.
        archive: The archive, open.
    """

    accepted: int
    rejected: int
    skipped: int
    reasons: Counter[str]
    archive: Archive


@dataclass(frozen=True)
class _Job:
    """A file to read, and what is known about it from elsewhere."""

    path: str
    record_id: str
    source: str
    patients: str
    patient_id: str | None = None
    age: float | None = None
    sex: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class _Outcome:
    """Either a signal, int16 [L, T], with its row of the manifest, or the reason for a rejection."""

    path: str
    reason: str | None = None
    signal: NDArray[np.int16] | None = None
    row: dict[str, Any] | None = None


def ingest(
    source: str | Path,
    archive: str | Path,
    settings: SignalSettings | None = None,
    limits: QualityLimits | None = None,
    workers: int | None = None,
    salt: str | bytes | None = None,
    progress: bool = True,
) -> IngestReport:
    """Read every recording below a folder into an archive.

    The same call continues after a kill, and a call with another source adds to a finished archive. Folders in the
    layout of PTB-XL, at any depth, bring patients, age, sex and label tables with them, those of CPSC 2018 and LUDB
    label tables.

    A record's id is its path relative to ``source`` without suffix; it is kept, so paths must not hold names. A patient
    id is prefixed with the name of the data set's folder; a record without one is a patient of its own.

    Args:
        source: Folder of recordings; WFDB headers (``.hea``) are looked for at any depth.
        archive: Folder of the archive; made if need be.
        settings: Leads, rate, length, filters; by default 12 leads, 100 Hz, 10 s, 0.5-40 Hz.
        limits: Thresholds of the quality check.
        workers: Processes that read; by default one a core.
        salt: If given, patient ids are replaced by their HMAC-SHA256 under this secret.
        progress: Whether to draw a progress bar.

    Returns:
        What was accepted and rejected, and the opened archive.

    Raises:
        FileNotFoundError: If ``source`` is no folder, or holds no recording.
        ArchiveError: If the archive there was made with other settings, limits or salt, an ingest of another source
            into it is unfinished, or no file could be used.
        OSError: If the disk is full; what is committed stays, and the same call continues.
    """
    source, settings, limits = Path(source), settings or SignalSettings(), limits or QualityLimits()
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    secret = as_secret(salt)
    databases = [PTBXL.read(folder, settings.sampling_rate) for folder in _folders_with(source, DATABASE)]
    ludb = [LUDB.read(folder) for folder in _folders_with(source, TABLE)]
    labelled: list[PTBXL | LUDB | CPSC2018] = [*databases, *ludb, *_cpsc2018(source)]
    jobs = _jobs(source, databases)

    origin = {"quality": limits.to_dict(), "patient_ids": id_scheme(secret)}
    writer = ArchiveWriter(archive, settings, run=str(source.resolve()), origin=origin)
    jobs = [_refuse_duplicate(job, writer.sources) for job in jobs]
    skipped = sum(job.record_id in writer.finished and job.reason is None for job in jobs)
    looked_at = {path for path, _ in writer.rejected}
    pending = [j for j in jobs if j.path not in looked_at and (j.reason or j.record_id not in writer.sources)]

    read = partial(_read, source=source, settings=settings, limits=limits, secret=secret)
    with _bar(progress) as bar, closing(_in_parallel(read, pending, workers or os.cpu_count() or 1)) as outcomes:
        task = bar.add_task("ingest", total=len(jobs), completed=len(jobs) - len(pending))
        for start in range(0, len(pending), FILES_PER_PART):
            part = []
            for _ in pending[start : start + FILES_PER_PART]:
                part.append(next(outcomes))
                bar.advance(task)
            _commit(writer, part)
    _write_labels(writer.folder / "labels", source, labelled)
    reasons = Counter(reason.split(":")[0] for _, reason in writer.rejected)
    opened = writer.finish()
    report = IngestReport(len(opened) - len(writer.finished), sum(reasons.values()), skipped, reasons, opened)
    log.info("%d accepted, %d rejected, %d there before", report.accepted, report.rejected, report.skipped)
    return report


def _folders_with(source: Path, name: str) -> list[Path]:
    return sorted(Path(folder) for folder, _, files in os.walk(source) if name in files)


def _cpsc2018(source: Path) -> list[CPSC2018]:
    found = (CPSC2018.read(Path(folder), files) for folder, _, files in sorted(os.walk(source)))
    return [labels for labels in found if labels is not None]


def _jobs(source: Path, databases: list[PTBXL]) -> list[_Job]:
    """List the recordings below a folder in a fixed order."""
    if not source.is_dir():
        raise FileNotFoundError(f"source {source} is not a folder")
    name = source.resolve().name
    jobs = []
    for database in databases:
        below = database.folder.relative_to(source)
        data_set = "/".join((name, *below.parts))
        patients = database.folder.resolve().name
        for entry in database.records:
            path = (below / entry.path).as_posix()
            jobs.append(_Job(f"{path}.hea", path, data_set, patients, entry.patient_id, entry.age, entry.sex))
    for folder, _, files in os.walk(source):
        adapted = any(Path(folder).is_relative_to(database.folder) for database in databases)
        for file in files:
            found = Path(folder, file).relative_to(source)
            if found.suffix in READERS and not adapted:
                data_set = "/".join((name, *found.parts[:-1][:1]))
                jobs.append(_Job(found.as_posix(), found.with_suffix("").as_posix(), data_set, name))
    if not jobs:
        raise FileNotFoundError(f"source {source} holds no recording: looked for {', '.join(READERS)} at any depth")
    jobs.sort(key=lambda job: job.path)
    seen: set[str] = set()
    for i, job in enumerate(jobs):
        if job.record_id in seen:
            jobs[i] = replace(job, reason=f"duplicate record id: {job.record_id}")
        seen.add(job.record_id)
    return jobs


def _refuse_duplicate(job: _Job, sources: dict[str, str]) -> _Job:
    there = sources.get(job.record_id, job.source)
    if there == job.source:
        return job
    return replace(job, reason=f"duplicate record id: {job.record_id} is in the archive from {there}")


def _read(job: _Job, source: Path, settings: SignalSettings, limits: QualityLimits, secret: bytes | None) -> _Outcome:
    """Read one file; whatever is wrong with it becomes a reason."""
    if job.reason:
        return _Outcome(job.path, job.reason)
    try:
        record = read_record(source / job.path)
        rate = record.sampling_rate
        if record.duration < settings.min_duration:
            raise RecordError("too short", f"{record.duration:.2f} s, at least {settings.min_duration:g} s are needed")
        if settings.band is not None and rate <= 2 * settings.band[1]:
            raise RecordError("sampling rate", f"{rate:g} Hz is too low for the band up to {settings.band[1]:g} Hz")
        signal = record.select(settings.leads)[:, : math.ceil(settings.duration * rate)]
        check_quality(signal, rate, settings.leads, record.calibrated, limits)
        try:
            integers = quantise(condition(signal, rate, settings))
        except ValueError as error:
            raise RecordError("amplitude", str(error)) from error
    except RecordError as error:
        return _Outcome(job.path, str(error))
    except Exception as error:  # one bad file must not stop the others
        log.debug("%s", job.path, exc_info=True)
        return _Outcome(job.path, f"unreadable: {type(error).__name__}")
    patient = job.patient_id or record.patient_id
    row = {
        "record_id": job.record_id,
        "patient_id": archived_id(f"{job.patients}/{patient or job.record_id}", secret),
        "source": job.source,
        "age": record.age if job.age is None else job.age,
        "sex": record.sex if job.sex is None else job.sex,
        "recorded_at": record.recorded_at,
        "original_rate": rate,
        "original_duration": record.duration,
        "calibrated": record.calibrated,
        "recorded": min(settings.samples, math.ceil(record.duration * settings.sampling_rate)),
        "leads": " ".join(settings.leads),
    }
    return _Outcome(job.path, None, integers, row)


def _read_all(read: Callable[[_Job], _Outcome], jobs: Sequence[_Job]) -> list[_Outcome]:
    return [read(job) for job in jobs]


def _in_parallel(
    read: Callable[[_Job], _Outcome], jobs: Sequence[_Job], workers: int
) -> Generator[_Outcome, None, None]:
    """Yield the outcome of every job in order; a worker that dies costs only the file that killed it."""
    chunks = deque(jobs[i : i + FILES_PER_TASK] for i in range(0, len(jobs), FILES_PER_TASK))
    running: deque[tuple[Sequence[_Job], Future[list[_Outcome]]]] = deque()
    pool = _pool(workers)
    try:
        while chunks or running:
            while chunks and len(running) < 4 * workers:  # a bounded queue keeps memory flat
                running.append((chunk := chunks.popleft(), _submit(pool, read, chunk)))
            chunk, future = running.popleft()
            try:
                yield from future.result()
            except BrokenProcessPool:
                yield from (_read_alone(read, job) for job in chunk)
                pool.shutdown(wait=False, cancel_futures=True)
                pool = _pool(workers)
                running = deque((chunk, _submit(pool, read, chunk)) for chunk, _ in running)
    finally:
        pool.shutdown(cancel_futures=True)


def _submit(
    pool: ProcessPoolExecutor, read: Callable[[_Job], _Outcome], chunk: Sequence[_Job]
) -> Future[list[_Outcome]]:
    try:
        return pool.submit(_read_all, read, chunk)
    except BrokenProcessPool as error:
        broken: Future[list[_Outcome]] = Future()
        broken.set_exception(error)
        return broken


def _read_alone(read: Callable[[_Job], _Outcome], job: _Job) -> _Outcome:
    with _pool(1) as pool:
        try:
            return pool.submit(read, job).result()
        except BrokenProcessPool:
            return _Outcome(job.path, "unreadable: the reading process died")


def _pool(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, initializer=_follow_parent)


def _follow_parent() -> None:
    """End this worker when its parent is killed; otherwise it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()


def _commit(writer: ArchiveWriter, outcomes: list[_Outcome]) -> None:
    settings = writer.settings
    signals = [o.signal for o in outcomes if o.signal is not None]
    empty = np.empty((0, len(settings.leads), settings.samples), dtype=np.int16)
    manifest = pd.DataFrame([o.row for o in outcomes if o.row is not None], columns=list(COLUMNS))
    rejected = [(o.path, o.reason) for o in outcomes if o.reason is not None]
    writer.write_part(np.stack(signals) if signals else empty, manifest, rejected)


def _write_labels(folder: Path, source: Path, labelled: list[PTBXL | LUDB | CPSC2018]) -> None:
    for labels in labelled:
        below = labels.folder.relative_to(source).as_posix()
        folder.mkdir(parents=True, exist_ok=True)
        for name, table in labels.label_tables("" if below == "." else f"{below}/").items():
            path = folder / f"{name}.csv"
            if path.exists():
                table = pd.concat([pd.read_csv(path), table]).drop_duplicates("record_id", keep="last")
            table.to_csv(path, index=False)


def _bar(progress: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), disable=not progress)
