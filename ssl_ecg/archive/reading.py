"""One file in, its records out: read, checked and brought into the form of an archive, or a reason why not."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl_ecg.archive.finding import Job
from ssl_ecg.archive.writer import quantise
from ssl_ecg.records import QualityLimits, Record, RecordError, check_quality
from ssl_ecg.records.formats import Rejected
from ssl_ecg.signals import SignalSettings, condition

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """Either a signal, int16 [L, T], with its row of the manifest, or the reason for a rejection."""

    path: str
    reason: str | None = None
    signal: NDArray[np.int16] | None = None
    row: dict[str, Any] | None = None


def read_job(
    job: Job, source: Path, settings: SignalSettings, limits: QualityLimits, partial_leads: bool
) -> Iterator[Outcome]:
    """Yield what becomes of each record of a file, from the ``job.skip``-th on; whatever is wrong becomes a reason."""
    done, reason = 0, job.reason
    try:
        for record in job.reader.read(source / job.path) if job.reader else ():
            done += 1
            if done <= job.skip:
                continue
            if isinstance(record, Rejected):
                yield Outcome(f"{job.path}#{record.record_id}", str(record.error))
            else:
                yield _outcome(job, record, settings, limits, partial_leads)
        if not done and reason is None:
            reason = "no record: the file holds none"
    except RecordError as error:
        reason = str(error)
    except Exception as error:  # one bad file must not stop the others
        log.debug("%s", job.path, exc_info=True)
        reason = f"unreadable: {type(error).__name__}"
    if reason is not None and done >= job.skip:
        yield Outcome(job.path, reason)


def _outcome(job: Job, record: Record, settings: SignalSettings, limits: QualityLimits, partial_leads: bool) -> Outcome:
    inner = f"#{record.record_id}" if record.record_id else ""
    rate = record.sampling_rate
    try:
        leads = record.available(settings.leads) if partial_leads else settings.leads
        signal = _conditioned(record, leads or settings.leads, settings, limits)
    except RecordError as error:
        return Outcome(job.path + inner, str(error))
    row = {
        "record_id": job.record_id + inner,
        "patient_id": record.patient_id,
        "source": job.source,
        "age": record.age,
        "sex": record.sex,
        "recorded_at": record.recorded_at and record.recorded_at.replace(tzinfo=None),
        "original_rate": rate,
        "original_duration": record.duration,
        "calibrated": record.calibrated,
        # The rounding of the division must not make a sample more.
        "recorded": min(settings.samples, math.ceil(record.duration * settings.sampling_rate - 1e-6)),
        "leads": " ".join(leads),
    }
    return Outcome(job.path + inner, None, signal, row)


def _conditioned(
    record: Record, leads: tuple[str, ...], settings: SignalSettings, limits: QualityLimits
) -> NDArray[np.int16]:
    """Check a record and bring it into the form of the archive, int16 [L, T]; leads that are not wanted here hold 0."""
    rate = record.sampling_rate
    if record.duration < settings.min_duration:
        raise RecordError("too short", f"{record.duration:.2f} s, at least {settings.min_duration:g} s are needed")
    if settings.band is not None and rate <= 2 * settings.band[1]:
        raise RecordError("sampling rate", f"{rate:g} Hz is too low for the band up to {settings.band[1]:g} Hz")
    signal = record.select(leads)[:, : math.ceil(settings.duration * rate)]
    check_quality(signal, rate, leads, record.calibrated, limits)
    try:
        integers = quantise(condition(signal, rate, settings))
    except ValueError as error:
        raise RecordError("amplitude", str(error)) from error
    whole = np.zeros((len(settings.leads), settings.samples), dtype=integers.dtype)
    whole[[settings.leads.index(lead) for lead in leads]] = integers
    return whole
