"""Many files in, one archive out: in parallel, resumable, and never stopped by a bad file."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ssl_ecg.archive.archive import Archive
from ssl_ecg.archive.finding import Job, file_of, find
from ssl_ecg.archive.patient_ids import as_secret, id_scheme
from ssl_ecg.archive.patients import Patients
from ssl_ecg.archive.processes import in_order
from ssl_ecg.archive.reading import Outcome, Reading, read_job
from ssl_ecg.archive.writer import COLUMNS, ArchiveWriter, content_of
from ssl_ecg.records import QualityLimits, RecordError
from ssl_ecg.runs import locked, write_csv
from ssl_ecg.signals import SignalSettings

RECORDS_PER_PART = 2048  # some 50 MB at 100 Hz, 250 MB at 500 Hz; what a kill can cost
UNKNOWN = "unknown format"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class IngestReport:
    """What became of the files of a source.

    Attributes:
        accepted: records that this ingest added to the archive.
        rejected: recordings, tables and other files that cannot be used; ``rejected.csv`` in the archive names them.
        unknown: files that no reader recognises, in ``rejected.csv`` too.
        skipped: records that were in the archive before.
        reasons: how often each kind of reason led to a rejection.
        short: how many of the accepted are shorter than the archive's duration.
        partial: how many of the accepted lack leads.
        archive: the archive, open.
    """

    accepted: int
    rejected: int
    unknown: int
    skipped: int
    reasons: Counter[str]
    short: int
    partial: int
    archive: Archive

    @property
    def summary(self) -> list[str]:
        """What a person must know of the ingest, in lines."""
        lines = [
            f"{self.accepted} records accepted, {self.rejected} rejected, {self.unknown} files of unknown format, "
            f"{self.skipped} records there before"
        ]
        if self.short:
            seconds = self.archive.settings.duration
            lines.append(f"{self.short} records are shorter than {seconds:g} s; what was not recorded holds 0")
        if self.partial:
            lines.append(f"{self.partial} records lack leads; what was not recorded holds 0")
        if unknown := np.count_nonzero(~self.archive.patient_known):
            lines.append(
                f"patients unknown: {unknown} of {len(self.archive)} records are counted as patients of their own"
            )
        return lines


@locked("archive")
def ingest(
    source: str | Path,
    archive: str | Path,
    settings: SignalSettings | None = None,
    limits: QualityLimits | None = None,
    workers: int | None = None,
    salt: str | bytes | None = None,
    progress: bool = True,
    patients: str | Path | pd.DataFrame | None = None,
    partial_leads: bool = False,
    gain: float = 1.0,
    lead_names: Mapping[str, str] | None = None,
) -> IngestReport:
    """Read every recording below a folder into an archive.

    The same call continues after a kill, and a call with another source adds to a finished archive. Folders of known
    data sets (``ssl_ecg.sources``), at any depth, bring patients, age, sex and label tables with them.

    A record's id is its path relative to ``source`` without suffix, then ``#`` and its name in the file where that
    holds many; it is kept, so paths must not hold names. A patient id is prefixed with the name of the data set's
    folder; a record without one is a patient of its own.

    Args:
        source: folder of recordings, at any depth; links to folders are not followed.
        archive: folder of the archive; made if need be.
        settings: leads, rate, length, filters; by default 12 leads, 100 Hz, 10 s, 0.5-40 Hz.
        limits: thresholds of the quality check.
        workers: processes that read; by default one per core.
        salt: if given, patient ids are replaced by their HMAC-SHA256 under this secret.
        progress: whether to draw a progress bar.
        patients: CSV or Parquet file, or a table: ``record_id`` and any of ``patient_id``, ``recorded_at``, ``age``,
            ``sex`` (which win over what the files say) and further columns, all of which go into the manifest.
        partial_leads: keep records that lack some of the leads: these hold 0, and the manifest's ``leads`` names the
            others.
        gain: what every signal is multiplied by, where the files of this source state a wrong unit or gain.
        lead_names: leads by what the files call them, beside the names that are known: ``{"MLII": "II"}``.

    Returns:
        What was accepted and rejected, and the opened archive.

    Raises:
        FileNotFoundError: ``source`` is no folder, or holds no recording; ``patients`` is not there.
        ValueError: a setting, or a column or value of ``patients``, cannot be.
        ArchiveError: the archive there was made with other settings, limits or salt, an ingest of another source into
            it is unfinished, or no file could be used.
        OSError: the disk is full, or another process writes this archive; what is committed stays, and the same call
            continues.
    """
    source, archive = Path(source), Path(archive)
    settings, limits = settings or SignalSettings(), limits or QualityLimits()
    if workers is not None and workers < 1:
        raise ValueError(f"workers={workers}: is no number of processes; give 1 or more")
    secret = as_secret(salt)
    table = None if patients is None or isinstance(patients, pd.DataFrame) else Path(patients)
    found = find(source, settings.sampling_rate, archive, table)
    people = Patients(found.entries, patients, secret)

    run = str(source.resolve()) + (f", patients {people.digest[:8]}" if people.digest else "")
    run += (f", gain {gain:g}" if gain != 1 else "") + (f", leads {sorted(lead_names.items())}" if lead_names else "")
    origin = {"quality": limits.to_dict(), "patient_ids": id_scheme(secret)}
    writer = ArchiveWriter(archive, settings, run=run, origin=origin)
    writer.require_types(people.columns)
    pending, before = _pending(found.jobs, writer)

    how = Reading(settings, limits, partial_leads, gain, lead_names or {})
    read = partial(read_job, source=source, how=how)
    outcomes = in_order(read, pending, workers or os.cpu_count() or 1, _died)
    ids, contents = set(writer.sources), dict(writer.contents)
    part: list[Outcome] = []
    with _bar(progress) as bar, closing(outcomes):
        task = bar.add_task("ingest", total=len(found.jobs), completed=len(found.jobs) - len(pending))
        for job, outcome in outcomes:
            if outcome is None:
                bar.advance(task)
                continue
            part.append(_settled(job, outcome, people, ids, contents))
            if len(part) == RECORDS_PER_PART:
                _commit(writer, part, people.columns)
                part = []
        if part:
            _commit(writer, part, people.columns)
    _write_labels(writer.folder / "labels", found.labels)
    reasons = Counter(reason.split(":")[0] for _, reason in writer.rejected)
    opened = writer.finish(looked_at=found.files - before.keys())
    _tell_of_table(found.jobs, writer, people, opened)
    report = _report(opened, writer.finished, reasons, before.total())
    for line in report.summary:
        log.info("%s", line)
    return report


def _pending(jobs: list[Job], writer: ArchiveWriter) -> tuple[list[Job], Counter[str]]:
    """Return the files that are still to be read, and how many records of each the finished archive holds.

    Outcomes are committed in the order of the files, so only the last file of which some are committed can be read in
    part. A file that gave records to the finished archive is not read again, one that was rejected is.
    """
    by_id = {job.record_id: job for job in jobs if job.record_id}
    by_path = {job.path: job for job in jobs}
    before: Counter[str] = Counter()
    now: Counter[str] = Counter()
    elsewhere: dict[str, str] = {}
    for record_id, there in writer.sources.items():
        if (job := file_of(record_id, by_id)) is None:
            continue
        if job.source == there:
            (before if record_id in writer.finished else now)[job.path] += 1
        elif job.record_id == record_id and job.reason is None:
            elsewhere[job.path] = there
    for rejected, _ in writer.rejected:
        if (job := file_of(rejected, by_path)) is not None:
            now[job.path] += 1
    whole = writer.sources.keys() | {path for path, _ in writer.rejected}
    last = max(now, default="")
    pending = []
    for job in jobs:
        if job.path == last and job.reader and whole.isdisjoint((job.record_id, job.path)):
            pending.append(replace(job, skip=now[job.path]))
        elif not now[job.path] and not before[job.path]:
            if other := elsewhere.get(job.path):
                job = Job(job.path, reason=f"duplicate record id: {job.record_id} is in the archive from {other}")
            pending.append(job)
    return pending, before


def _died(job: Job) -> Outcome:
    return Outcome(job.path, "unreadable: the reading process died")


def _settled(job: Job, outcome: Outcome, people: Patients, ids: set[str], contents: dict[str, str]) -> Outcome:
    """Complete the row of a record with what is known beside its file; refuse one whose id or signal is there."""
    if outcome.row is None or outcome.signal is None:
        return outcome
    record_id = outcome.row["record_id"]
    try:
        if record_id in ids:
            raise RecordError("duplicate record id", record_id)
        # The same ECG under two names would train as one patient and test as another.
        if (original := contents.setdefault(content_of(outcome.signal), record_id)) != record_id:
            raise RecordError("copy", f"the same signal as {original}")
        completed = replace(outcome, row=people.complete(job, outcome.row))
    except RecordError as error:
        return Outcome(outcome.path, str(error))
    ids.add(record_id)
    return completed


def _commit(writer: ArchiveWriter, outcomes: Sequence[Outcome], columns: pd.DataFrame) -> None:
    settings = writer.settings
    signals = [o.signal for o in outcomes if o.signal is not None]
    empty = np.empty((0, len(settings.leads), settings.samples), dtype=np.int16)
    manifest = pd.DataFrame([o.row for o in outcomes if o.row is not None], columns=list(COLUMNS))
    manifest = manifest.join(columns.reindex(manifest["record_id"]).reset_index(drop=True))
    rejected = [(o.path, o.reason) for o in outcomes if o.reason is not None]
    writer.write_part(np.stack(signals) if signals else empty, manifest, rejected)


def _write_labels(folder: Path, tables: dict[str, pd.DataFrame]) -> None:
    for name, table in tables.items():
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.csv"
        if path.exists():
            table = pd.concat([pd.read_csv(path, dtype={"record_id": str}), table])
        write_csv(path, table.drop_duplicates("record_id", keep="last"))


def _tell_of_table(jobs: list[Job], writer: ArchiveWriter, people: Patients, archive: Archive) -> None:
    """Say which rows of the table of patients came to nothing."""
    by_id = {job.record_id: job for job in jobs if job.record_id}
    by_path = {job.path: job for job in jobs}
    ids = {*writer.sources, *by_id}
    for path, _ in writer.rejected:
        if (job := file_of(path, by_path)) is not None:
            ids.add(job.record_id + path[len(job.path) :])
    if strange := sorted(people.said.keys() - ids):
        log.warning(
            "patients: %d of %d record ids are those of no file: %s; an id is a path below the source without suffix",
            len(strange),
            len(people.said),
            ", ".join(strange[:5]),
        )
    kept = 0
    for record_id, patient_id in archive.manifest[["record_id", "patient_id"]].itertuples(index=False):
        job, named = file_of(record_id, by_id), people.said.get(record_id, {}).get("patient_id")
        if job is not None and named is not None and record_id in writer.finished:
            kept += patient_id != people.archived(job, named)
    if kept:
        log.warning("patients: %d records keep the patients they have; ingest into a new folder to change them", kept)


def _report(archive: Archive, before: frozenset[str], reasons: Counter[str], skipped: int) -> IngestReport:
    new = archive.manifest[~archive.manifest["record_id"].isin(before)]
    unknown = reasons.pop(UNKNOWN, 0)
    return IngestReport(
        accepted=len(new),
        rejected=sum(reasons.values()),
        unknown=unknown,
        skipped=skipped,
        reasons=reasons,
        short=int((new["recorded"] < archive.samples).sum()),
        partial=int((new["leads"] != " ".join(archive.leads)).sum()),
        archive=archive,
    )


def _bar(progress: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), disable=not progress)
