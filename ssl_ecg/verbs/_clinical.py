"""A clinical score beside the predicted risk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ssl_ecg.labels import read_columns
from ssl_ecg.labels.splits import Splits
from ssl_ecg.verbs._given import TableLike
from ssl_ecg.verbs.results import Tested

if TYPE_CHECKING:
    from ssl_ecg.tasks import Task


@dataclass(frozen=True, eq=False)
class ClinicalScore:
    """A clinical score of labelled records.

    Attributes:
        values: [n], of every record of the label table; NaN where unknown.
        test: the records that test.
        validation: int64 [m], where the records that choose stand in the label table.
    """

    values: NDArray[np.float64]
    test: Tested
    validation: NDArray[np.int64]

    def combine(
        self, task: Task, validated: np.ndarray, scores: np.ndarray
    ) -> tuple[dict[str, float], dict[str, pd.DataFrame]]:
        """Combine the score with the predicted risk.

        Args:
            task: whose scores these are.
            validated: scores [m, S] of the validation records.
            scores: scores [n, S] of the test records.

        Returns:
            C-index of the score and of both together, and the gain of the latter, each with the ends of its interval;
            and the table, "clinical_score".
        """
        from ssl_ecg.tasks import Survival
        from ssl_ecg.tasks.clinical_score import Scored, combine_clinical

        assert isinstance(task, Survival)
        labels, index = self.test.labels, self.test.index
        table = combine_clinical(
            task,
            Scored(labels.targets[self.validation], validated, self.values[self.validation]),
            Scored(labels.targets[index], scores, self.values[index]),
            labels.patient[index],
        )
        rows = table.set_index("model")
        named = {"clinical_c_index": ("score", "c_index"), "combined_c_index": ("score_and_ecg", "c_index")}
        named["c_index_gain"] = ("score_and_ecg", "gain")
        metrics = {
            name + end: float(rows[column + end][model])
            for name, (model, column) in named.items()
            for end in ("", "_low", "_high")
        }
        return metrics, {"clinical_score": table}


def read_clinical(column: str, labels: TableLike, task: Task, splits: Splits, test: Tested) -> ClinicalScore:
    """Read a clinical score from the label table or, where it has no such column, from the archive's manifest.

    Raises:
        ValueError: a task without survival, no such column, a value that is no number, or a split in which no record
            with a score has an event, or none is free of it.
    """
    from ssl_ecg.tasks import Survival

    if not isinstance(task, Survival):
        raise ValueError(f"clinical_score={column!r}: task {task.name!r} predicts no survival to combine it with")
    table = test.labels
    given = read_columns(labels, test.archive, table.rows, [column])[column]
    values = pd.to_numeric(given, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    if len(wrong := given[~np.isfinite(values) & given.notna()]):
        raise ValueError(f"clinical_score={column!r}: must hold finite numbers or blanks, got {str(wrong.iloc[0])!r}")
    for name in ("validation", "test"):
        index = getattr(splits, name)
        outcome = table.outcome[index, 0][np.isfinite(values[index])]
        if set(outcome[~np.isnan(outcome)]) != {0, 1}:
            raise ValueError(f"clinical_score={column!r}: {name} lacks records with a score, with or without an event")
    return ClinicalScore(values, test, splits.validation)
