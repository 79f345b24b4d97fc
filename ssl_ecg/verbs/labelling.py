"""The verb that makes labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from ssl_ecg.runs import write_csv
from ssl_ecg.verbs.shared import ArchiveLike, TableLike, opened


def label_lvef(archive: ArchiveLike, measurements: TableLike, out: str | Path, **settings: Any) -> pd.DataFrame:
    """Label ECGs by the ejection fraction measured soon after them, for the task ``cardiomyopathy``.

    Args:
        archive: the archive, or its folder.
        measurements: CSV or Parquet file, or a table: ``patient_id``, ``measured_at`` (a date), ``lvef`` (percent).
        out: CSV file for the label table; beside it ``*_exclusions.csv`` counts what was left out, and why.
        settings: ``threshold``, ``window_days``, ``cohort``, ``cohort_class``, ``data_set`` and ``salt`` of
            ``ssl_ecg.labels.lvef_labels``.

    Returns:
        The counts: ``of``, ``what``, ``count``.
    """
    from ssl_ecg.labels import lvef_labels

    out = Path(out)
    if out.suffix != ".csv":
        raise ValueError(f"out={str(out)!r}: name a .csv file")
    if not isinstance(measurements, pd.DataFrame) and out.resolve() == Path(measurements).resolve():
        raise ValueError(f"out={str(out)!r}: the measurements lie there, and would be replaced; choose another file")
    labels, counts = lvef_labels(opened(archive), measurements, **settings)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_csv(out, labels)
    write_csv(out.with_name(f"{out.stem}_exclusions.csv"), counts)
    return counts
