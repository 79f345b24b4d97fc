"""A clinical score beside the predicted risk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ssl_ecg.labels import read_columns
from ssl_ecg.labels.clinical_scores import CHARGE_AF, CHARGE_AF_COLUMNS, charge_af
from ssl_ecg.labels.splits import Splits
from ssl_ecg.verbs._given import TableLike
from ssl_ecg.verbs.results import Tested

if TYPE_CHECKING:
    from ssl_ecg.tasks import Task


@dataclass(frozen=True, eq=False)
class ClinicalScore:
    """A clinical score of labelled records.

    Attributes:
        names: of the P columns: "score" and the covariates.
        values: [n, P], of every record of the label table; NaN where unknown.
        test: the records that test.
        validation: int64 [m], where the records that choose stand in the label table.
    """

    names: tuple[str, ...]
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
            and the tables, "clinical_score" and "clinical_covariates".
        """
        from ssl_ecg.tasks import Survival
        from ssl_ecg.tasks.clinical_score import Scored, combine_clinical

        assert isinstance(task, Survival)
        labels, index = self.test.labels, self.test.index
        table, weighed = combine_clinical(
            task,
            Scored(labels.targets[self.validation], validated, self.values[self.validation]),
            Scored(labels.targets[index], scores, self.values[index]),
            labels.patient[index],
            self.names,
        )
        rows = table.set_index("model")
        named = {"clinical_c_index": ("score", "c_index"), "combined_c_index": ("score_and_ecg", "c_index")}
        named["c_index_gain"] = ("score_and_ecg", "gain")
        metrics = {
            name + end: float(rows[column + end][model])
            for name, (model, column) in named.items()
            for end in ("", "_low", "_high")
        }
        return metrics, {"clinical_score": table, "clinical_covariates": weighed}


def read_clinical(
    column: str | None, covariates: tuple[str, ...], labels: TableLike, task: Task, splits: Splits, test: Tested
) -> ClinicalScore | None:
    """Read a clinical score and covariates from the label table or, where it lacks a column, from the manifest.

    The score ``charge_af`` is computed from its columns where neither has it.

    Raises:
        ValueError: covariates without a score, a task without survival, no such column, a value that is no number, or
            a split in which no record with a score has an event, or none is free of it.
    """
    from ssl_ecg.tasks import Survival

    if column is None:
        if covariates:
            raise ValueError(f"covariates={list(covariates)}: are weighed beside a score; give clinical_score a column")
        return None
    if not isinstance(task, Survival):
        raise ValueError(f"clinical_score={column!r}: task {task.name!r} predicts no survival to combine it with")
    table = test.labels
    further = read_columns(labels, test.archive, table.rows, covariates)
    columns = [_score(column, labels, test), *(_numbers(further[name], "covariates") for name in covariates)]
    values = np.column_stack(columns)
    known = np.isnan(values).sum(axis=1) == 0
    for name in ("validation", "test"):
        index = getattr(splits, name)
        outcome = table.outcome[index, 0][known[index]]
        if set(outcome[~np.isnan(outcome)]) != {0, 1}:
            raise ValueError(f"clinical_score={column!r}: {name} lacks records with a score, with or without an event")
    return ClinicalScore(("score", *covariates), values, test, splits.validation)


def _score(column: str, labels: TableLike, test: Tested) -> NDArray[np.float64]:
    """Return the clinical score of all labelled records, as it stands there or computed."""
    rows, archive = test.labels.rows, test.archive
    try:
        given = read_columns(labels, archive, rows, [column])[column]
    except ValueError:
        if column != CHARGE_AF:
            raise
        return charge_af(read_columns(labels, archive, rows, CHARGE_AF_COLUMNS))["score"].to_numpy(np.float64)
    return _numbers(given)


def _numbers(given: pd.Series, setting: str = "clinical_score") -> NDArray[np.float64]:
    values = pd.to_numeric(given, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    if len(wrong := given[~np.isfinite(values) & given.notna()]):
        raise ValueError(f"{setting}={given.name!r}: must hold finite numbers or blanks, got {str(wrong.iloc[0])!r}")
    return values
