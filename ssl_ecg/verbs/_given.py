"""What verbs are given: folders and files, or what was read from them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import pandas as pd
from pydantic import PlainSerializer

from ssl_ecg.archive import Archive, open_archive
from ssl_ecg.archive.patient_ids import ENVIRONMENT, given_salt
from ssl_ecg.settings import Secret, Settings

if TYPE_CHECKING:
    from ssl_ecg.backbones import Encoder

ArchiveLike = Archive | str | Path
TableLike = pd.DataFrame | str | Path

Table = Annotated[TableLike, PlainSerializer(lambda table: table if isinstance(table, str | None) else str(table))]
"""Type of a setting: a CSV or Parquet file, or what it holds."""


class SaltSettings(Settings):
    """The secret under which an archive tells nothing that names people."""

    salt: Annotated[
        str | bytes | None,
        Secret(
            "is a secret, and the list of processes and the history of the shell would show it; write it into a file "
            f"and give salt_file=FILE, or set the environment variable {ENVIRONMENT}"
        ),
    ] = None
    """secret of 16 characters or more, in Python; on the command line give ``salt_file``, or set ``SSL_ECG_SALT``"""
    salt_file: Path | None = None
    """file whose first line is the salt"""

    @property
    def secret(self) -> bytes | None:
        """The salt: as given, from the file or from the environment; None where there is none."""
        return given_salt(self.salt, self.salt_file)


def opened(archive: ArchiveLike) -> Archive:
    """Return the archive, opened where its folder is given."""
    return archive if isinstance(archive, Archive) else open_archive(archive)


def opened_for(encoder: Encoder, archive: ArchiveLike) -> Archive:
    """Return an archive with the leads of an encoder alone.

    Raises:
        ValueError: it was prepared otherwise than the encoder expects, or lacks one of its leads.
    """
    archive = opened(archive).of_leads(encoder.leads)
    encoder.check(archive.settings)
    return archive
