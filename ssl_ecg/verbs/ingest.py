"""Many ECG files become one archive."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from annotated_types import Gt
from rich.table import Table

from ssl_ecg.records import QualityLimits
from ssl_ecg.signals import SignalSettings
from ssl_ecg.verbs.verb import console, verb

if TYPE_CHECKING:
    from ssl_ecg.archive import IngestReport


class VerbSettings(SignalSettings):
    """What becomes of the signals, which records are refused, and how it is done."""

    quality: QualityLimits = QualityLimits()
    """which recordings are no ECGs"""
    workers: Annotated[int, Gt(0)] | None = None
    """processes that read; null: one per core"""
    salt: str | bytes | None = None
    """secret by which patient ids are hashed; null keeps them as they are"""


def show(report: IngestReport, source: str, archive: str) -> None:
    """Print what was rejected and why."""
    console.print(f"{report.accepted} records accepted, {report.rejected} rejected; the archive lies in {archive}")
    if report.reasons:
        table = Table("reason", "records")
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

    signal = settings.part(SignalSettings)
    return run(source, archive, signal, settings.quality, settings.workers, settings.salt, progress)
