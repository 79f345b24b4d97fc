"""What else is known of labelled records: columns beside the labels, by which results are grouped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ssl_ecg.archive.archive import Archive
from ssl_ecg.labels.record_ids import ids_in
from ssl_ecg.labels.table_files import read_table


def read_columns(
    table: str | Path | pd.DataFrame, archive: Archive, rows: NDArray[np.int64], names: Sequence[str]
) -> pd.DataFrame:
    """Read what describes records: columns of their label table or, where it has none of the name, of the manifest.

    Args:
        table: Label table, or its file.
        archive: The archive that holds the records.
        rows: int64 [n], their rows in it.
        names: Of the columns.

    Returns:
        [n, len(names)], as the tables have them; blank where the label table does not hold the record.

    Raises:
        ValueError: If neither has a column; the message names it.
    """
    frame = table if isinstance(table, pd.DataFrame) else read_table(Path(table))
    known = frame.set_index(ids_in(archive, frame["record_id"].astype(str)))
    described = archive.manifest.iloc[rows].reset_index(drop=True)
    columns = {}
    for name in names:
        if name in frame:
            columns[name] = known[name].reindex(described["record_id"]).reset_index(drop=True)
        elif name in described:
            columns[name] = described[name]
        else:
            there = ", ".join(map(str, {**dict.fromkeys(frame), **dict.fromkeys(described)}))
            raise ValueError(f"no column {name!r} in the label table or in the archive's manifest, only {there}")
    return pd.DataFrame(columns)
