"""What is measured and written of tested records."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ssl_ecg.archive import Archive
from ssl_ecg.archive.labels import LabelTable
from ssl_ecg.archive.splits import Splits

if TYPE_CHECKING:
    from ssl_ecg.tasks import Task


def tested_metrics(task: Task, table: LabelTable, splits: Splits, scores: np.ndarray) -> dict[str, float]:
    """Return the task's metrics of the scores of the test records, each with the ends of its interval."""
    from ssl_ecg.evaluation import bootstrap_metrics

    test = splits.test
    found = bootstrap_metrics(
        table.targets[test], scores, table.patient[test], metrics=task.weighted_metrics, outcome=table.outcome[test]
    )
    return {
        name if part == "mean" else f"{name}_{part}": value
        for name, interval in found.items()
        for part, value in interval._asdict().items()
    }


def write_tables(
    out: Path,
    archive: Archive,
    task: Task,
    table: LabelTable,
    splits: Splits,
    scores: np.ndarray,
    metrics: Mapping[str, float],
) -> None:
    """Write the metrics and the task's tables of the test records."""
    out.mkdir(parents=True, exist_ok=True)
    tables = task.tables(table.targets[splits.test], scores)
    record_ids = archive.manifest["record_id"].iloc[table.rows[splits.test]].to_numpy()
    tables["predictions"].insert(0, "record_id", record_ids)
    if "per_class" in tables:
        counts = pd.DataFrame({"class": table.outcomes})
        for part in ("train", "validation"):
            counts[f"positives_{part}"] = np.nansum(table.outcome[getattr(splits, part)], axis=0).astype(int)
        tables["per_class"] = counts.merge(tables["per_class"], on="class", how="right")
    for name, content in tables.items():
        content.to_csv(out / f"{name}.csv", index=False, float_format="%.6g")
    (out / "metrics.json").write_text(json.dumps(dict(metrics), indent=1) + "\n", encoding="utf-8")
