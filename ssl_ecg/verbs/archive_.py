"""What an archive holds, whether it is whole, and one record of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from ssl_ecg.archive import open_archive
from ssl_ecg.registry import nearest
from ssl_ecg.settings import Settings, SettingsError
from ssl_ecg.verbs.info import info
from ssl_ecg.verbs.verb import console, verb

ACTIONS = ["info", "verify", "show"]


class VerbSettings(Settings):
    """Nothing to choose."""


def show(found: dict[str, Any], action: str, folder: str, record: str | None = None) -> None:
    """Print what was found, a line each."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in found.items():
        table.add_row(escape(name), escape(str(value)))
    console.print(table)


@verb(VerbSettings, show)
def archive_(action: str, folder: str | Path, record: str | None = None, *, settings: VerbSettings) -> dict[str, Any]:
    """Tell what an archive holds, compare every file with its checksum, or show a record.

    Args:
        action: info, verify (compare every file with its checksum) or show (one record).
        folder: of the archive.
        record: id of the record to show; the first one by default.
        settings: nothing to choose.

    Returns:
        Facts by name.

    Raises:
        ArchiveError: it is damaged, or there is no such record.
        FileNotFoundError: there is no archive.
    """
    if action not in ACTIONS:
        raise SettingsError(f"action={str(action)!r}: is nothing to do with an archive; {nearest(action, ACTIONS)}")
    archive = open_archive(folder)
    if action == "info":
        return dict(info(folder))
    if action == "verify":
        archive.verify()
        return {"whole": "every file has its checksum", "records": len(archive), "parts": len(archive.parts)}
    row = archive[0 if record is None else int(archive.rows([record])[0])]
    signal = row.pop("signal")
    ranges = zip(archive.leads, signal.min(axis=1), signal.max(axis=1))
    return {**row, **{lead: f"{low:.3f} to {high:.3f} mV" for lead, low, high in ranges}}
