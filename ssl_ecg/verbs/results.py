"""What is measured, written and drawn of tested records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ssl_ecg.archive import Archive
from ssl_ecg.labels import read_columns
from ssl_ecg.labels.tables import LabelTable
from ssl_ecg.runs import write_result
from ssl_ecg.verbs._examples import worst_on_paper
from ssl_ecg.verbs._given import TableLike

if TYPE_CHECKING:
    from ssl_ecg.tasks import Classifier, Task


MOST_IN_PLANE = 2000
"""test records whose features are drawn in two dimensions, evenly spread over them"""


@dataclass(frozen=True, eq=False)
class Tested:
    """The records that test, and into which groups they fall.

    Attributes:
        archive: holds them.
        labels: what is known of them, and of others.
        index: int64 [n], where they stand in ``labels``.
        groups: by column, the group of each of them [n].
    """

    archive: Archive
    labels: LabelTable
    index: NDArray[np.int64]
    groups: Mapping[str, pd.Categorical] = field(default_factory=dict)

    @property
    def rows(self) -> NDArray[np.int64]:
        """Rows of the tested records in the archive, int64 [n]."""
        return self.labels.rows[self.index]

    def metrics(self, task: Task, scores: np.ndarray) -> dict[str, float]:
        """Return the task's metrics of scores [n, S], each with the ends of its interval; NaN where it has none.

        ``positive_patients`` and ``negative_patients`` stand behind these intervals, of the rarest outcome.
        Where patients are unknown, ``records_of_unknown_patients`` says of how many records; each counts as a patient.
        """
        from ssl_ecg.evaluation import bootstrap_metrics

        labels, index = self.labels, self.index
        found = bootstrap_metrics(
            labels.targets[index],
            scores,
            labels.patient[index],
            metrics=task.weighted_metrics,
            outcome=labels.outcome[index],
        )
        metrics: dict[str, float] = {}
        for name, interval in found.items():
            metrics |= {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}
        for interval in list(found.values())[:1]:  # the same patients for each
            metrics |= {"positive_patients": float(interval.positives), "negative_patients": float(interval.negatives)}
        if unknown := np.count_nonzero(~self.archive.patient_known[self.rows]):
            metrics["records_of_unknown_patients"] = float(unknown)
        return metrics

    def write(
        self,
        out: Path,
        task: Task,
        scores: np.ndarray,
        metrics: Mapping[str, float],
        learned: Mapping[str, NDArray[np.int64]] | None = None,
        further: Mapping[str, pd.DataFrame] | None = None,
        about: Mapping[str, Any] | None = None,
        model: Classifier | None = None,
    ) -> list[str]:
        """Write metrics and what they mean, the task's tables, the subgroups and figures; clear away earlier ones.

        Args:
            out: folder.
            task: with the decisions that its tables report.
            scores: [n, S].
            metrics: for ``metrics.json``.
            learned: by name of a split that learned or chose, where its records stand in ``labels``.
            further: tables to write beside, by name.
            about: ``verb`` and what it was asked, for the report.
            model: that was tested, to draw its worst errors; None: they are not drawn.

        Returns:
            Names of the figures.
        """
        from ssl_ecg.comparison import recognised
        from ssl_ecg.evaluation import decisions_per_class, describe, operating_curves, plane, subgroup_metrics
        from ssl_ecg.labels import describe_cohort, describe_leakage
        from ssl_ecg.report import DRAWN, FURTHER, draw_further, draw_task, write_result_page
        from ssl_ecg.tasks import Thresholds
        from ssl_ecg.training.frozen import model_features

        labels, index = self.labels, self.index
        tables = {**task.tables(labels.targets[index], scores), **(further or {})}
        tables["predictions"].insert(0, "record_id", self.archive.manifest["record_id"].iloc[self.rows].to_numpy())
        if labels.simulated:
            tables["predictions"]["simulated"] = 1
        if learned and "per_class" in tables and list(tables["per_class"]["class"]) == list(labels.outcomes):
            counts = pd.DataFrame({"class": labels.outcomes})
            for part, those in learned.items():
                counts[f"positives_{part}"] = np.nansum(labels.outcome[those], axis=0).astype(int)
            tables["per_class"] = counts.merge(tables["per_class"], on="class", how="right")
        targets = labels.targets[index]
        if task.of_labels:
            tables["operating_curves"] = operating_curves(targets, scores, task.classes)
        if isinstance(task, Thresholds) and task.thresholds is not None:
            decided = task.decide(scores).astype(float)
            tables["thresholds"] = decisions_per_class(targets, decided, task.thresholds, task.classes)
        tables["cohort"] = describe_cohort(self.archive, labels, {**(learned or {}), "test": index})
        known = None if model is None else recognised(model.encoder, self.archive, self.rows)
        tables["leakage"] = describe_leakage(self.archive, labels, index, learned or {}, known)
        if model is not None:
            some = np.unique(np.linspace(0, len(index) - 1, min(len(index), MOST_IN_PLANE)).astype(np.int64))
            features = model_features(model, self.archive, self.rows[some])
            tables["plane"] = plane(features, labels.outcome[index[some]], labels.outcomes)
        if self.groups:
            tables["subgroups"] = subgroup_metrics(
                labels.targets[index],
                scores,
                labels.patient[index],
                self.groups,
                task.weighted_metrics,
                labels.outcome[index],
                labels.outcomes,
            )
        names = {*(f"{name}.csv" for name in DRAWN.values()), *(f"{name}.svg" for name in DRAWN), *FURTHER}
        meanings = describe(task.metrics, task.class_metrics)
        told = {"verb": "evaluate", "task": task.name, "simulated": labels.simulated, **(about or {})}

        def draw(folder: Path) -> list[str]:
            worst = [] if model is None else worst_on_paper(model, self.archive, self.rows, targets, scores)
            drawn = [*draw_task(folder), *draw_further(folder)]
            write_result_page(folder, told, worst)
            return drawn

        return write_result(out, tables, metrics, meanings, draw, clear=names)


def tested(
    archive: Archive, table: TableLike, labels: LabelTable, index: NDArray[np.int64], subgroups: Sequence[str]
) -> Tested:
    """Return the tested records, grouped by columns of their label table or of the archive's manifest.

    Raises:
        ValueError: a column that is not there or makes no groups.
    """
    from ssl_ecg.evaluation import group_by

    if isinstance(subgroups, str):
        raise ValueError(f"subgroups={subgroups!r}: give a list of columns, [{subgroups!r}]")
    columns = read_columns(table, archive, labels.rows[index], subgroups)
    return Tested(archive, labels, index, {name: group_by(columns[name]) for name in subgroups})
