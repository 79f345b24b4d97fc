"""The tables of a comparison, from the folders of its finished runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ssl_ecg.evaluation import Difference, Interval, bootstrap_metrics, holm, paired_difference
from ssl_ecg.labels.splits import Splits, nested_fractions
from ssl_ecg.labels.tables import LabelTable
from ssl_ecg.runs import write_csv
from ssl_ecg.tasks import Task, create_task

Scores = dict[tuple[str, float], dict[int, NDArray[np.float32]]]
"""Test scores [n, C] of every (arm, fraction), by seed."""


def read_runs(folders: Iterable[Path]) -> tuple[pd.DataFrame, Scores, pd.DataFrame]:
    """Read finished runs.

    Args:
        folders: one per run; those without a result are passed over.

    Returns:
        Results, one row per run; test scores of every (arm, fraction) by seed; learning curves.
    """
    runs = [
        (json.loads((folder / "result.json").read_text(encoding="utf-8")), folder)
        for folder in sorted(folders)
        if (folder / "result.json").is_file()
    ]
    runs.sort(key=lambda run: (run[0]["fraction"], run[0]["arm"], run[0]["seed"]))
    scores: Scores = {}
    curves = []
    for row, folder in runs:
        by_seed = scores.setdefault((row["arm"], row["fraction"]), {})
        by_seed[row["seed"]] = np.load(folder / "test_scores.npy", allow_pickle=False)
        if row.get("step") is not None:
            curve = pd.read_csv(folder / "curve.csv")
            curves.append(curve.assign(arm=row["arm"], fraction=row["fraction"], seed=row["seed"]))
    results = pd.DataFrame([row for row, _ in runs])
    return results, scores, pd.concat(curves, ignore_index=True) if curves else pd.DataFrame()


def summarise(
    out: Path,
    folders: Iterable[Path],
    families: Sequence[Sequence[tuple[str, str]]],
    labels: LabelTable,
    splits: Splits,
    replicates: int,
    task: str | Task,
) -> pd.DataFrame:
    """Write ``results.csv``, ``summary.csv``, ``per_class.csv`` and ``curves.csv`` below ``out``.

    Paired differences are rows whose arm is "a - b", over the seeds that both have; their column ``p_value`` is
    corrected by Holm's method over all differences of a metric in one family.

    Args:
        out: folder of the tables.
        folders: one per run.
        families: each the arms (a, b) to compare, at every fraction that both have, to answer one question.
        labels: label table.
        splits: indices into ``labels``.
        replicates: bootstrap draws of patients.
        task: the task, or the name of one without options; gives the metrics.

    Returns:
        The summary.
    """
    task = create_task(task, labels.classes) if isinstance(task, str) else task
    results, scores, curves = read_runs(folders)
    tested = TestRecords(task, labels.targets[splits.test], labels.outcome[splits.test], labels.patient[splits.test])
    rows = []
    for (arm, fraction), runs in scores.items():
        for metric, found in tested.intervals(runs, replicates).items():
            rows.append(_row(task.name, arm, fraction, len(runs), metric, found))
    for family in families:
        rows += _differences(tested, scores, family, replicates)
    summary = pd.DataFrame(rows)
    results.insert(0, "task", task.name)
    write_csv(out / "results.csv", results)
    write_csv(out / "summary.csv", summary, "%.5g")
    if len(per_class := _per_class(tested, scores, labels, splits)):
        write_csv(out / "per_class.csv", per_class, "%.5g")
    if len(curves):
        write_csv(out / "curves.csv", curves, "%.6g")
    return summary


@dataclass(frozen=True)
class TestRecords:
    """The test records: what is known of them, and how their scores are judged."""

    task: Task
    targets: NDArray[np.float32]
    outcome: NDArray[np.float32]
    patient: NDArray[np.int64]

    def intervals(self, runs: Mapping[int, NDArray[np.float32]], replicates: int) -> dict[str, Interval]:
        """Return the interval of each metric over the runs of one arm."""
        scores = np.stack(list(runs.values()))
        return bootstrap_metrics(
            self.targets, scores, self.patient, replicates, metrics=self.task.weighted_metrics, outcome=self.outcome
        )

    def differences(
        self, runs_a: Mapping[int, NDArray[np.float32]], runs_b: Mapping[int, NDArray[np.float32]], replicates: int
    ) -> dict[str, Difference]:
        """Return the paired difference of each metric between runs of the same seeds."""
        scores_a, scores_b = np.stack(list(runs_a.values())), np.stack([runs_b[seed] for seed in runs_a])
        return paired_difference(
            self.targets,
            scores_a,
            scores_b,
            self.patient,
            replicates,
            metrics=self.task.weighted_metrics,
            outcome=self.outcome,
        )


def _differences(
    tested: TestRecords, scores: Scores, family: Sequence[tuple[str, str]], replicates: int
) -> list[dict[str, Any]]:
    """Compare pairs of arms at every fraction; p-values are corrected over all of them, for each metric."""
    rows = []
    for fraction in sorted({fraction for _, fraction in scores}):
        for a, b in family:
            runs_a, runs_b = scores.get((a, fraction), {}), scores.get((b, fraction), {})
            if not (both := sorted(runs_a.keys() & runs_b.keys())):
                continue
            found = tested.differences({seed: runs_a[seed] for seed in both}, runs_b, replicates)
            for metric, difference in found.items():
                row = _row(tested.task.name, f"{a} - {b}", fraction, len(both), metric, difference)
                rows.append({**row, "p_value": difference.p_value})
    for metric in {row["metric"] for row in rows}:
        compared = [row for row in rows if row["metric"] == metric]
        for row, p_value in zip(compared, holm([row["p_value"] for row in compared])):
            row["p_value"] = p_value
    return rows


def _row(task: str, arm: str, fraction: float, seeds: int, metric: str, found: Any) -> dict[str, Any]:
    return {
        "task": task,
        "arm": arm,
        "fraction": fraction,
        "seeds": seeds,
        "metric": metric,
        "mean": found.mean,
        "low": found.low,
        "high": found.high,
    }


def _per_class(tested: TestRecords, scores: Scores, labels: LabelTable, splits: Splits) -> pd.DataFrame:
    """What the task reports of every class, means over seeds; blank where the test records do not define it."""
    tables = []
    metrics = [metric.name for metric in tested.task.class_metrics]
    for (arm, fraction), runs in scores.items():
        each = [tested.task.per_class(tested.targets, run) for run in runs.values()]
        table = each[0].assign(**{name: np.mean([t[name] for t in each], axis=0) for name in metrics})
        trained = [nested_fractions(labels, splits.train, [fraction], seed)[fraction] for seed in runs]
        counts = pd.DataFrame(
            {
                "class": labels.outcomes,
                "positives_train": np.mean([_positives(labels, index) for index in trained], axis=0),
                "positives_validation": _positives(labels, splits.validation),
            }
        )
        table = counts.merge(table, on="class", how="right")
        tables.append(table.assign(task=tested.task.name, arm=arm, fraction=fraction))
    counted = [f"positives_{part}" for part in ("train", "validation", "test")]
    return pd.concat(tables, ignore_index=True)[["task", "arm", "fraction", "class", *counted, *metrics]]


def _positives(labels: LabelTable, index: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.nansum(labels.outcome[index], axis=0).astype(np.int64)
