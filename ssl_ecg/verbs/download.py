"""Known data sets, fetched from where they are published."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from annotated_types import Gt
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ssl_ecg.registry import nearest
from ssl_ecg.settings import Settings, SettingsError
from ssl_ecg.verbs.verb import console, verb

if TYPE_CHECKING:
    from ssl_ecg.sources.download import Fetched


class VerbSettings(Settings):
    """What is fetched, and how."""

    only: str = "*"
    """pattern of the paths that are wanted, such as records100/*; tables outside of folders come always"""
    workers: Annotated[int, Gt(0)] = 4
    """files that are fetched at a time"""
    address: str | None = None
    """of a mirror: the folder that holds SHA256SUMS.txt; null: where the data set is published"""


def show(fetched: Fetched, name: str, folder: str) -> None:
    """Print how many came, and what to do with them."""
    console.print(
        f"{fetched.fetched} files fetched, {fetched.there} were there; each has the checksum of its publisher"
    )
    if packed := sorted(path.name for path in Path(folder).iterdir() if path.name.endswith((".zip", ".tar.gz"))):
        told = ", ".join(packed[:3]) + " ..." * (len(packed) > 3)
        console.print(f"unpack what is packed there: {told} (docs/data.md)")
    console.print(f"Next: ssl-ecg ingest {folder} ARCHIVE")


@verb(VerbSettings, show)
def download(name: str, folder: str | Path, settings: VerbSettings, progress: bool = True) -> Fetched:
    """Fetch a known data set, and compare every file with its publisher's checksum; the same call goes on.

    Args:
        name: ptbxl, cinc2021, cinc2011, ludb, mitbih, chapman, code15 or sph.
        folder: where it is written.
        settings: all settings at once, in place of single ones by name.
        progress: show a progress bar.

    Returns:
        How many files were fetched, and how many were there.

    Raises:
        DownloadError: a file could not be fetched, or is not what its publisher says.
    """
    from ssl_ecg.sources.download import PUBLISHED
    from ssl_ecg.sources.download import download as fetch

    if name not in PUBLISHED:
        raise SettingsError(f"name={name!r}: is no data set that can be fetched; {nearest(name, [*PUBLISHED])}")
    address = settings.address
    if address is not None and not re.match(r"https?://\S+$", address):
        raise SettingsError(f"address={address!r}: is no address; give one that begins with https://")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not progress) as bar:
        task = bar.add_task(name, total=None)
        return fetch(
            PUBLISHED[name] if address is None else address.rstrip("/") + "/",
            Path(folder),
            settings.only,
            settings.workers,
            lambda done, files: bar.update(task, completed=done, total=files),
        )
