"""Many ECG files become one archive."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import rich.table
from annotated_types import Gt
from pydantic import AfterValidator, AllowInfNan, Field

from ssl_ecg.archive.patient_ids import Times
from ssl_ecg.archive.processes import SECONDS
from ssl_ecg.archive.record_ids import table_at_home
from ssl_ecg.archive.windows import Windows
from ssl_ecg.records import QualityLimits, canonical_lead
from ssl_ecg.signals import SignalSettings
from ssl_ecg.verbs._given import SaltSettings, Table
from ssl_ecg.verbs.verb import console, verb

if TYPE_CHECKING:
    from ssl_ecg.archive import IngestReport


class VerbSettings(SaltSettings, SignalSettings):
    """What becomes of the signals, which records are refused, and how it is done."""

    quality: QualityLimits = QualityLimits()
    """which recordings are no ECGs"""
    workers: Annotated[int, Gt(0)] | None = None
    """processes that read; null: one per core"""
    cluster: str | None = None
    """address of a Dask scheduler whose workers read, or local; null: processes of this machine, without Dask"""
    times: Times = "shifted"
    """of records under a salt: shifted by whole days, by as many for all of a patient; or the year alone; or kept"""
    patients: Table | None = None
    """table of whose the records are: record_id and any of patient_id, recorded_at, age, sex; other columns are kept"""
    partial_leads: bool = False
    """keep records that lack some of the leads; what was not recorded counts for nothing"""
    gain: Annotated[float, Gt(0), AllowInfNan(False)] = 1.0
    """what every signal is multiplied by, where the files of this source state a wrong unit or gain"""
    lead_names: dict[str, Annotated[str, AfterValidator(canonical_lead)]] = Field(default_factory=dict)
    """leads by what the files call them, beside the names that are known: {MLII: II}"""
    windows: Windows = "first"
    """of longer recordings the first window of the archive's length, so many, or all, one after the other"""
    seconds_per_file: Annotated[float, Gt(0)] = SECONDS
    """a file that gives no record, and does not end, for so long is rejected"""


def show(report: IngestReport, source: str, archive: str) -> None:
    """Print what was rejected and why."""
    for line in report.summary:
        console.print(line)
    console.print(f"the archive lies in {archive}; rejected.csv there names every file that is no record of it")
    console.print(f"{Path(archive) / 'ingest.html'} shows it, and says what to do next")
    if (ids := table_at_home(Path(archive))).is_file():
        console.print(f"{ids} says what its ids stand for: keep it here when you share the archive")
    if report.reasons:
        table = rich.table.Table("reason", "records")
        for reason, count in report.reasons.most_common(20):
            table.add_row(reason, str(count))
        console.print(table)


@verb(VerbSettings, show)
def ingest(source: str | Path, archive: str | Path, settings: VerbSettings, progress: bool = True) -> IngestReport:
    """Turn every ECG below a folder into one training-ready archive, with a report of what was rejected and why.

    Args:
        source: folder of recordings, at any depth; known data sets bring patients and labels along.
        archive: folder to write, to continue or to add to.
        settings: all settings at once, in place of single ones by name.
        progress: show a progress bar.

    Returns:
        What was accepted and rejected, and why.
    """
    from ssl_ecg.archive.ingest import ingest as run
    from ssl_ecg.report.ingest_page import write_ingest_page

    report = run(
        source,
        archive,
        settings.part(SignalSettings),
        settings.quality,
        settings.workers,
        settings.secret,
        progress,
        settings.patients,
        settings.partial_leads,
        settings.gain,
        settings.lead_names,
        settings.seconds_per_file,
        settings.times,
        settings.windows,
        settings.cluster,
    )
    write_ingest_page(report.archive)
    return report
