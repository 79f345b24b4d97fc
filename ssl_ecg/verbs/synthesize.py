"""Simulated hearts become an archive."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, Gt

from ssl_ecg.settings import Settings
from ssl_ecg.verbs.verb import console, verb

if TYPE_CHECKING:
    from ssl_ecg.archive import Archive


class VerbSettings(Settings):
    """What is drawn."""

    records: Annotated[int, Gt(0)] = 2000
    """how many ECGs"""
    seed: Annotated[int, Ge(0)] = 0
    """the same seed gives the same bytes"""
    sampling_rate: Annotated[float, Gt(0)] = 100.0
    """samples a second, in Hz"""
    duration: Annotated[float, Gt(0)] = 10.0
    """seconds of every ECG"""
    workers: Annotated[int, Gt(0)] | None = None
    """processes that draw; null: one per core"""


def show(made: Archive, archive: str) -> None:
    """Print how many ECGs there are, and where."""
    console.print(f"{len(made)} synthetic records; the archive lies in {archive}, label tables in {archive}/labels")


@verb(VerbSettings, show)
def synthesize(archive: str | Path, settings: VerbSettings) -> Archive:
    """Write the embedded synthetic archive: ECGs with known structure, labels and outcomes.

    Args:
        archive: folder to write.
        settings: all settings at once, in place of single ones by name.

    Returns:
        The archive, opened.
    """
    from ssl_ecg.archive import open_archive
    from ssl_ecg.synthetic import synthesize as run

    return open_archive(run(archive, **dict(settings)))
