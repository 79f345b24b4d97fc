"""What a folder of runs holds: what they are about, and one folder per finished run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ssl_ecg.archive import Archive
from ssl_ecg.comparison.arms import Outcome
from ssl_ecg.evaluation import describe
from ssl_ecg.labels.splits import Splits, lacking
from ssl_ecg.labels.tables import LabelTable
from ssl_ecg.runs import whole_folder, write_csv, write_json
from ssl_ecg.tasks import Task


def write_run(folder: Path, outcome: Outcome, result: Mapping[str, Any]) -> None:
    """Write scores, ``curve.csv`` and, last of all, ``result.json``, which marks the run finished."""
    with whole_folder(folder, last="result.json") as part:
        np.save(part / "test_scores.npy", outcome.scores)
        np.save(part / "validation_scores.npy", outcome.validation_scores)
        write_csv(part / "curve.csv", pd.DataFrame(outcome.curve))
        write_json(part / "result.json", result)


def result_of(
    outcome: Outcome, task: Task, labels: LabelTable, splits: Splits, train: NDArray[np.int64]
) -> dict[str, Any]:
    """Return the numbers of a run: what it learned from, its validation score, its test metrics, what was chosen.

    Args:
        outcome: of the run.
        task: names the metrics.
        labels: label table.
        splits: indices into ``labels``.
        train: of those, what the run learned from.
    """
    return {
        "records": len(train),
        "validation_records": len(splits.validation),
        "patients": len(np.unique(labels.patient[train])),
        f"validation_{task.selection}": outcome.validation,
        **task.evaluate(labels.targets[splits.test], outcome.scores),
        **outcome.chosen,
        "undetermined": [labels.outcomes[c] for c in outcome.undetermined],
    }


def data_identity(archive: Archive, labels: LabelTable, splits: Splits) -> dict[str, Any]:
    """Return what tells one set of labelled records from another, with counts for a reader.

    Raises:
        ValueError: no class can be learned or scored.
    """
    parts = splits.parts
    digest = hashlib.sha256()
    for array in (labels.targets, labels.rows, labels.patient, *parts.values()):
        digest.update(np.ascontiguousarray(array).tobytes())
    return {
        "classes": {
            name: {part: int(np.nansum(labels.outcome[index, c])) for part, index in parts.items()}
            for c, name in enumerate(labels.outcomes)
        },
        "splits": {
            part: {"records": len(index), "patients": len(np.unique(labels.patient[index]))}
            for part, index in parts.items()
        },
        "split": dict(splits.how),
        "labels": {"sha256": digest.hexdigest()[:16]},
        "archive": {"records": len(archive), **archive.settings.to_dict()},
        "warnings": [line for part, index in parts.items() for line in lacking(labels, part, index)],
    }


def declaration(labels: LabelTable, task: Task) -> dict[str, Any]:
    """Return what readers must be told: what the metrics are, and, where there is any, what is made up or unknown.

    ``simulated`` outcomes, and ``patients_unknown``, of how many records.
    """
    said = {"simulated": labels.simulated, "patients_unknown": labels.patients_unknown}
    return {**describe(task.metrics, task.class_metrics), **{name: value for name, value in said.items() if value}}
