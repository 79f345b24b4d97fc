"""How many records has a patient?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pandas as pd
from annotated_types import Gt

from ssl_ecg.settings import Settings
from ssl_ecg.verbs import verb


class VerbSettings(Settings):
    """Whom to count."""

    at_least: Annotated[int, Gt(0)] = 1
    """records that a patient must have to be counted"""


def show(counts: pd.Series, archive: str) -> None:
    """Print how many patients there are."""
    print(f"{len(counts)} patients in {archive}")  # noqa: T201


@verb(VerbSettings, show)
def own_verb(archive: str | Path, settings: VerbSettings) -> pd.Series:
    """Count the records of each patient.

    Args:
        archive: the archive's folder.
        settings: all settings at once, in place of single ones by name.
    """
    import ssl_ecg

    counts = ssl_ecg.open_archive(archive).manifest["patient_id"].value_counts()
    return counts[counts >= settings.at_least]
