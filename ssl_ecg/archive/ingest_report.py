"""What an ingest has to tell: what became of the files, and of the rows of a table of patients."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass

import numpy as np

from ssl_ecg.archive.archive import Archive
from ssl_ecg.archive.finding import Job, file_of
from ssl_ecg.archive.patients import Patients
from ssl_ecg.archive.record_ids import RecordIds
from ssl_ecg.archive.writer import ArchiveWriter, ids_of

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


def report_of(archive: Archive, before: int, reasons: Counter[str], skipped: int) -> IngestReport:
    """Return the report of an ingest into an archive that had so many records before."""
    new = archive.manifest[["recorded", "leads"]].iloc[before:]
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


def tell_of_table(jobs: list[Job], people: Patients, names: RecordIds, archive: Archive, writer: ArchiveWriter) -> None:
    """Say which rows of the table of patients came to nothing."""
    if not people.said:
        return
    by_id = {job.record_id: job for job in jobs if job.record_id}
    by_name = {names.record(record_id, job): job for record_id, job in by_id.items()}
    said = {names.record(record_id, file_of(record_id, by_id)): record_id for record_id in people.said}
    there = archive.manifest["record_id"].isin(list(said))
    known = {*archive.manifest["record_id"][there], *by_name}.union(*(ids_of(path) for path, _ in writer.rejected))
    if strange := sorted(said[name] for name in said.keys() - known):
        log.warning(
            "patients: %d of %d record ids are those of no file%s; an id is a path below the source without suffix",
            len(strange),
            len(said),
            f": {', '.join(strange[:5])}" if people.secret is None else "",
        )
    kept = 0
    old = archive.manifest[["record_id", "patient_id"]][there & (np.arange(len(archive)) < writer.finished)]
    for name, patient_id in old.itertuples(index=False):
        job, named = file_of(name, by_name), people.said[said[name]].get("patient_id")
        if job is not None and named is not None:
            kept += patient_id != people.archived(job, named)
    if kept:
        log.warning("patients: %d records keep the patients they have; ingest into a new folder to change them", kept)
