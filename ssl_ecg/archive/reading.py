"""One file in, its records out: read, checked and brought into the form of an archive, or a reason why not."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ssl_ecg.archive.finding import Job
from ssl_ecg.archive.windows import Window, windows_of
from ssl_ecg.archive.writer import Written, content_of, quantise
from ssl_ecg.records import (
    QualityLimits,
    Record,
    RecordError,
    Rejected,
    also_named,
    check_record,
    without_gaps,
)
from ssl_ecg.signals import SignalSettings, condition

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """Either a signal, int16 [L, T], with its row of the manifest, or the reason for a rejection.

    Attributes:
        path: of the file, and what tells the record from its others.
        reason: of the rejection.
        signal: as the archive stores it.
        row: of the manifest; ``record_id`` is that of the whole recording.
        content: hash of the signal.
        window: put behind the path of a part of a recording, and behind its id unless it is the first.
        first: whether it is the recording's first.
    """

    path: str
    reason: str | None = None
    signal: NDArray[np.int16] | None = None
    row: dict[str, Any] | None = None
    content: str = ""
    window: str = ""
    first: bool = True


@dataclass(frozen=True)
class Reading:
    """How files become signals of an archive.

    Attributes:
        settings: what the archive holds.
        limits: which recordings are no ECGs.
        partial_leads: whether records that lack some of the leads are kept.
        gain: what every signal is multiplied by.
        lead_names: canonical leads by what the files call them, beside the names that are known.
        windows: how many windows of a recording at most.
    """

    settings: SignalSettings
    limits: QualityLimits
    partial_leads: bool = False
    gain: float = 1.0
    lead_names: Mapping[str, str] = field(default_factory=dict)
    windows: float = 1


class Piece(NamedTuple):
    """What is committed at once.

    Attributes:
        outcomes: of files, in their order.
        written: where another process wrote their signals, which they then lack.
    """

    outcomes: list[tuple[Job, Outcome]]
    written: Written | None = None


def pieces_of(
    outcomes: Iterable[tuple[Job, Outcome | None]], size: int, done: Callable[[], object] = lambda: None
) -> Iterator[Piece]:
    """Yield outcomes, so many at once; ``done()`` is called after each file."""
    here: list[tuple[Job, Outcome]] = []
    for job, outcome in outcomes:
        if outcome is None:
            done()
            continue
        here.append((job, outcome))
        if len(here) == size:
            yield Piece(here)
            here = []
    if here:
        yield Piece(here)


def read_job(job: Job, source: Path, how: Reading) -> Iterator[Outcome]:
    """Yield what becomes of each window of a file, from the ``job.skip``-th on; whatever is wrong becomes a reason."""
    done, reason = 0, job.reason
    try:
        for window in _windows(job, source, how):
            done += 1
            if done <= job.skip:
                continue
            if isinstance(window, Rejected):
                yield Outcome(f"{job.path}#{window.record_id}", str(window.error))
            else:
                yield _outcome(job, window, how)
        if not done and reason is None:
            reason = "no record: the file holds none"
    except RecordError as error:
        reason = str(error)
    except Exception as error:  # one bad file must not stop the others
        log.debug("%s", job.path, exc_info=True)
        reason = f"unreadable: {type(error).__name__}"
    if reason is not None and done >= job.skip:
        yield Outcome(job.path, reason)


def _windows(job: Job, source: Path, how: Reading) -> Iterator[Window | Rejected]:
    if job.reader is not None:
        with also_named(how.lead_names):
            settings = how.settings
            yield from windows_of(job.reader, source / job.path, settings.duration, settings.min_duration, how.windows)


def died(job: Job, late: bool) -> Outcome:
    """Return what becomes of a file that ended the process that read it."""
    return Outcome(job.path, "time: reading did not end" if late else "unreadable: the reading process died")


def _outcome(job: Job, window: Window, how: Reading) -> Outcome:
    record, settings = window.record, how.settings
    inner = f"#{record.record_id}" if record.record_id else ""
    try:
        kept = _kept(record, how)
        leads = kept.available(settings.leads) if how.partial_leads else settings.leads
        signal, findings, residual = _conditioned(kept, leads or settings.leads, how)
    except RecordError as error:
        return Outcome(job.path + inner, str(error), window=window.name)
    row = {
        "record_id": job.record_id + inner,
        "patient_id": record.patient_id,
        "source": job.source,
        "age": record.age,
        "sex": record.sex,
        "recorded_at": record.recorded_at and record.recorded_at.replace(tzinfo=None),
        "start": record.start,
        "original_rate": record.sampling_rate,
        "original_duration": record.length or record.duration,
        "calibrated": record.calibrated,
        # The rounding of the division must not make a sample more.
        "recorded": min(settings.samples, math.ceil(kept.duration * settings.sampling_rate - 1e-6)),
        "leads": " ".join(leads),
        "einthoven": residual,
        "findings": "; ".join(findings),
    }
    return Outcome(job.path + inner, None, signal, row, content_of(signal), window.name, window.first)


def _kept(record: Record, how: Reading) -> Record:
    """Return a window as the archive keeps it, in its unit, without gaps."""
    settings, rate = how.settings, record.sampling_rate
    if settings.band is not None and rate <= 2 * settings.band[1]:
        raise RecordError("sampling rate", f"{rate:g} Hz is too low for the band up to {settings.band[1]:g} Hz")
    if record.duration < settings.min_duration:
        raise RecordError("too short", f"{record.duration:.2f} s, at least {settings.min_duration:g} s are needed")
    record = without_gaps(record, how.limits.gap)
    return record if how.gain == 1 else replace(record, signal=record.signal * np.float32(how.gain))


def _conditioned(
    record: Record, leads: tuple[str, ...], how: Reading
) -> tuple[NDArray[np.int16], tuple[str, ...], float | None]:
    """Check a record and bring it into the form of the archive; leads that are not wanted here hold 0.

    Returns:
        The signal, int16 [L, T], the findings and the residual of the limb leads.
    """
    settings = how.settings
    try:
        findings, residual = check_record(record, leads, how.limits)
    except RecordError as error:
        if error.kind == "missing lead" and (gaps := [f for f in record.findings if f.startswith("gap: ")]):
            raise RecordError("missing lead", f"{error.detail}, {gaps[0]}") from error
        raise
    try:
        integers = quantise(condition(record.select(leads), record.sampling_rate, settings))
    except ValueError as error:
        raise RecordError("amplitude", str(error)) from error
    whole = np.zeros((len(settings.leads), settings.samples), dtype=integers.dtype)
    whole[[settings.leads.index(lead) for lead in leads]] = integers
    return whole, findings, residual
