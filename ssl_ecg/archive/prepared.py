"""Records brought into the form of an archive without one: what a model scores a new ECG by.

The same steps as in ingest, by the same code, so that a model sees a new file as it saw those it was trained on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from ssl_ecg.archive.finding import Job, find
from ssl_ecg.archive.processes import in_order
from ssl_ecg.archive.reading import Outcome, Reading, died, read_job
from ssl_ecg.archive.writer import MICROVOLTS_PER_BIT
from ssl_ecg.records import QualityLimits, Reader, Record, RecordError
from ssl_ecg.records.formats import reader_of
from ssl_ecg.signals import Signals, SignalSettings


class Prepared(NamedTuple):
    """A record, or why it cannot be used.

    Attributes:
        record_id: as ingest would call it.
        signals: of one record, [1, L, T] in millivolts; None where there is a reason.
        reason: why not.
        row: what the manifest of an archive would say of it; nothing where there is a reason.
    """

    record_id: str
    signals: Signals | None
    reason: str
    row: Mapping[str, Any] = MappingProxyType({})


def prepare_record(
    record: Record, settings: SignalSettings, limits: QualityLimits | None = None, partial_leads: bool = False
) -> Signals:
    """Check one record and bring it into the form of an archive, a batch of one.

    Args:
        record: of any rate, length and lead set.
        settings: of the archive that it is to look like.
        limits: of quality.
        partial_leads: whether it may lack leads.

    Raises:
        RecordError: it cannot be used.
    """
    job = Job("record", Reader(lambda path, head: True, lambda path: iter((record,))))
    how = Reading(settings, limits or QualityLimits(), partial_leads)
    made = _prepared(job, next(read_job(job, Path(), how)), settings)
    if made.signals is None:
        kind, _, detail = made.reason.partition(": ")
        raise RecordError(kind, detail)
    return made.signals


def prepare_files(
    source: Path,
    settings: SignalSettings,
    limits: QualityLimits | None = None,
    partial_leads: bool = False,
    workers: int = 1,
) -> Iterator[Prepared]:
    """Read a file, or every file below a folder, and bring each record into the form of an archive.

    Args:
        source: a file or a folder.
        settings: of the archive that they are to look like.
        limits: of quality.
        partial_leads: whether records may lack leads.
        workers: processes that read.

    Raises:
        FileNotFoundError: there is no such file or folder, or no recording in it.
    """
    if source.is_dir():
        root, jobs = source, find(source, settings.sampling_rate, source / ".none").jobs
    elif source.exists():
        root, jobs = source.parent, [_job_of(source)]
    else:
        raise FileNotFoundError(f"source={str(source)!r}: is neither a file nor a folder")
    read = partial(read_job, source=root, how=Reading(settings, limits or QualityLimits(), partial_leads))
    if len(jobs) == 1:
        yield from (_prepared(jobs[0], outcome, settings) for outcome in read(jobs[0]))
        return
    with closing(in_order(read, jobs, workers, died)) as outcomes:
        yield from (_prepared(job, outcome, settings) for job, outcome in outcomes if outcome is not None)


def _job_of(file: Path) -> Job:
    try:
        return Job(file.name, reader_of(file))
    except RecordError as error:
        return Job(file.name, reason=str(error))


def _prepared(job: Job, outcome: Outcome, settings: SignalSettings) -> Prepared:
    if outcome.signal is None or outcome.row is None:
        return Prepared((job.record_id or job.path) + outcome.path[len(job.path) :], None, outcome.reason or "")
    names = outcome.row["leads"].split()
    signals = Signals(
        outcome.signal[None].astype(np.float32) * np.float32(MICROVOLTS_PER_BIT / 1000),
        np.array([outcome.row["recorded"]]),
        np.array([[lead in names for lead in settings.leads]]),
    )
    return Prepared(outcome.row["record_id"], signals, "", outcome.row)
