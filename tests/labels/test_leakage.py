"""What a test set has in common with what was learned from is counted."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from ssl_ecg.labels import LabelTable, describe_leakage


@pytest.fixture
def archive() -> SimpleNamespace:
    """Six records; the last is a copy of the first under another patient's name."""
    manifest = pd.DataFrame({"content": ["a", "b", "c", "d", "e", "a"]})
    return SimpleNamespace(manifest=manifest, patient_known=np.array([True, True, True, True, False, True]))


def test_what_leaks_is_counted(archive: SimpleNamespace) -> None:
    labels = LabelTable(
        rows=np.arange(6),
        targets=np.zeros((6, 1), np.float32),
        classes=("x",),
        patient_id=np.array(list("pqrpst"), dtype=object),
        patient=np.array([0, 1, 2, 0, 3, 4]),
    )
    learned = {"train": np.array([0]), "validation": np.array([1])}
    known = np.array([False, True, False, False])
    table = describe_leakage(archive, labels, np.array([2, 3, 4, 5]), learned, known).set_index("test_records_whose")
    assert table["records"].tolist() == [1, 0, 1, 1, 1]
    assert table.index[0] == "patient is in train"
    assert table.loc["signal was learned from, under any name", "records"] == 1
    assert describe_leakage(archive, labels, np.array([2]), {})["records"].tolist() == [0]
