"""What a test set has in common with what was learned from: nothing, in an honest test."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ssl_ecg.archive.archive import Archive
from ssl_ecg.labels.tables import LabelTable


def describe_leakage(
    archive: Archive,
    labels: LabelTable,
    index: NDArray[np.int64],
    learned: Mapping[str, NDArray[np.int64]],
    recognised: NDArray[np.bool_] | None = None,
) -> pd.DataFrame:
    """Count test records by what could make their score too good.

    Args:
        archive: holds all records.
        labels: label table.
        index: where the n records that test stand in ``labels``.
        learned: by name of a part that trained or chose, where its records stand in ``labels``.
        recognised: bool [n], whether the model, or the encoder that it began with, learned from the patient; None:
            not asked.

    Returns:
        ``test_records_whose`` and ``records``, one row per question.
    """
    rows = labels.rows[index]
    others = np.concatenate([np.empty(0, np.int64), *learned.values()])
    found: dict[str, NDArray[np.bool_]] = {}
    for name, part in learned.items():
        found[f"patient is in {name}"] = np.isin(labels.patient[index], labels.patient[part])
    if recognised is not None:
        found["patient the model or its encoder learned from"] = recognised
    if learned and "content" in archive.manifest:
        content = archive.manifest["content"]
        again = content.iloc[rows].isin(content.iloc[labels.rows[others]])
        found["signal was learned from, under any name"] = again.to_numpy(bool)
    found["patient is unknown, so that none of this can be told"] = ~archive.patient_known[rows]
    return pd.DataFrame(
        {"test_records_whose": list(found), "records": [int(np.count_nonzero(those)) for those in found.values()]}
    )
