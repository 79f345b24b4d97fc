"""What verbs are given: folders and files, or what was read from them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pandas as pd
from pydantic import PlainSerializer

from ssl_ecg.archive import Archive, open_archive

ArchiveLike = Archive | str | Path
TableLike = pd.DataFrame | str | Path

Table = Annotated[TableLike, PlainSerializer(lambda table: table if isinstance(table, str | None) else str(table))]
"""Type of a setting: a CSV or Parquet file, or what it holds."""


def opened(archive: ArchiveLike) -> Archive:
    """Return the archive, opened where its folder is given."""
    return archive if isinstance(archive, Archive) else open_archive(archive)
