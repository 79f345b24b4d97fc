"""Archives of silence, for what is known of records."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ssl_ecg.archive import Archive, ArchiveWriter
from ssl_ecg.signals import SignalSettings


def small_archive(folder: Path, ids: list[str], patients: list[str], rejected=(), **columns: object) -> Archive:
    settings = SignalSettings(leads=("I",), duration=1, min_duration=1)
    table = pd.DataFrame(
        {
            "record_id": ids,
            "patient_id": patients,
            "source": "clinic",
            "age": 50.0,
            "sex": "male",
            "recorded_at": pd.NaT,
            "original_rate": 100.0,
            "original_duration": 1.0,
            "calibrated": True,
            **columns,
        }
    )
    writer = ArchiveWriter(folder, settings)
    writer.write_part(np.zeros((len(ids), 1, 100), np.float32), table, rejected)
    return writer.finish()


@pytest.fixture(scope="session", name="small_archive")
def small_archive_fixture() -> Callable[..., Archive]:
    return small_archive
