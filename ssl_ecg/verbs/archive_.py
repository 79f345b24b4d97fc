"""What an archive holds, whether it is whole, one record of it, and two archives as one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from ssl_ecg.archive import merge, open_archive
from ssl_ecg.registry import nearest
from ssl_ecg.settings import Settings, SettingsError
from ssl_ecg.verbs.info import info
from ssl_ecg.verbs.verb import console, verb

ACTIONS = ["info", "verify", "show", "merge"]


class VerbSettings(Settings):
    """Nothing to choose."""


def show(found: dict[str, Any], action: str, folder: str, other: str | None = None, out: str | None = None) -> None:
    """Print what was found, a line each."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in found.items():
        table.add_row(escape(name), escape(str(value)))
    console.print(table)


@verb(VerbSettings, show)
def archive_(
    action: str, folder: str | Path, other: str | None = None, out: str | Path | None = None, *, settings: VerbSettings
) -> dict[str, Any]:
    """Tell what an archive holds, compare every file with its checksum, show a record, or merge two archives.

    Args:
        action: info, verify (compare every file with its checksum), show (one record) or merge (two into a new one).
        folder: of the archive.
        other: id of the record to show, by default the first; or the archive to merge with.
        out: folder of the merged archive.
        settings: nothing to choose.

    Returns:
        Facts by name.

    Raises:
        ArchiveError: it is damaged, there is no such record, or the archives were made with other settings.
        FileNotFoundError: there is no archive.
    """
    if action not in ACTIONS:
        raise SettingsError(f"action={str(action)!r}: is nothing to do with an archive; {nearest(action, ACTIONS)}")
    if (out is not None) != (action == "merge"):
        raise SettingsError(f"out={out!r}: merge takes two archives and the folder of a new one, {action} takes one")
    archive = open_archive(folder)
    if out is not None and other is not None:
        from ssl_ecg.report.ingest_page import write_ingest_page

        merged = merge(archive, other, out)
        write_ingest_page(merged)
        return dict(info(out))
    if action == "info":
        return dict(info(folder))
    if action == "verify":
        archive.verify()
        return {"whole": "every file has its checksum", "records": len(archive), "parts": len(archive.parts)}
    row = archive[0 if other is None else int(archive.rows([other])[0])]
    signal = row.pop("signal")
    ranges = zip(archive.leads, signal.min(axis=1), signal.max(axis=1))
    return {**row, **{lead: f"{low:.3f} to {high:.3f} mV" for lead, low, high in ranges}}
