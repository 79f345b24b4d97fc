"""The tables of a comparison, from the folders of its finished runs."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ssl_ecg.comparison.arms import UNTAUGHT
from ssl_ecg.evaluation import Bootstrap, Difference, Interval, Metric, Replicates, Rotation, holm
from ssl_ecg.labels.splits import Splits, nested_fractions
from ssl_ecg.labels.tables import LabelTable
from ssl_ecg.runs import write_csv
from ssl_ecg.tasks import Task, create_task

logger = logging.getLogger(__name__)


class Part(NamedTuple):
    """Finished runs that were tested on the same patients: their folders, and the split."""

    folders: Sequence[Path]
    splits: Splits


Scores = dict[tuple[str, float], dict[int, NDArray[np.float32]]]
"""Test scores [n, C] of every (arm, fraction), by seed."""
Drawn = dict[tuple[str, float], dict[int, Replicates]]
"""What these are worth, on all test records and on each draw of patients."""


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
    parts: Sequence[Part],
    families: Sequence[Sequence[tuple[str, str]]],
    labels: LabelTable,
    replicates: int,
    task: str | Task,
) -> pd.DataFrame:
    """Write ``results.csv``, ``summary.csv``, ``per_class.csv`` and ``curves.csv`` below ``out``.

    Paired differences are rows whose arm is "a - b", over the seeds that both have; their column ``p_value`` is
    corrected by Holm's method over all differences of a metric in one family and blank where there are too few patients
    to judge, ``detectable`` the smallest true difference that would be found with 80 % power (p < .05, uncorrected).
    ``positives`` and ``negatives`` count test patients, as ``evaluation.support`` does. Each run is scored once on
    every draw of patients.

    Args:
        out: folder of the tables.
        parts: runs by who tested them; of several the metrics are averaged, seed by seed, over those that have the run.
        families: each the arms (a, b) to compare, at every fraction that both have, to answer one question.
        labels: label table.
        replicates: bootstrap draws of patients.
        task: the task, or the name of one without options; gives the metrics.

    Returns:
        The summary.
    """
    task = create_task(task, labels.classes) if isinstance(task, str) else task
    read = [read_runs(part.folders) for part in parts]
    tested = [_bootstrap(task, labels, part.splits.test, replicates, number) for number, part in enumerate(parts)]
    rotation = Rotation(tested)
    shared = [key for key in read[0][1] if all(key in scores for _, scores, _ in read)]
    drawn: Drawn = {}
    for key in shared:
        seeds = [seed for seed in read[0][1][key] if all(seed in scores[key] for _, scores, _ in read)]
        drawn[key] = {seed: rotation.score([scores[key][seed] for _, scores, _ in read]) for seed in seeds}
    rows = []
    for (arm, fraction), runs in drawn.items():
        for metric, found in rotation.intervals(list(runs.values())).items():
            rows.append(_row(task.name, arm, fraction, len(runs), metric, found))
    for family in families:
        rows += _differences(task.name, rotation, drawn, family)
    _warn_of_no_gain(task.selection, rotation, drawn)
    summary = pd.DataFrame(rows)
    results = pd.concat([results for results, _, _ in read], ignore_index=True)
    results.insert(0, "task", task.name)
    write_csv(out / "results.csv", results)
    write_csv(out / "summary.csv", summary, "%.5g")
    classes = [_per_class(task, scores, labels, part.splits) for (_, scores, _), part in zip(read, parts)]
    if len(per_class := _over_rounds(classes)):
        write_csv(out / "per_class.csv", per_class, "%.5g")
    if len(curves := pd.concat([curves for _, _, curves in read], ignore_index=True)):
        write_csv(out / "curves.csv", curves, "%.6g")
    return summary


def _bootstrap(task: Task, labels: LabelTable, test: NDArray[np.int64], replicates: int, seed: int) -> Bootstrap:
    targets, outcome, patient = (part[test] for part in (labels.targets, labels.outcome, labels.patient))
    return Bootstrap(targets, patient, replicates, seed, metrics=task.weighted_metrics, outcome=outcome)


def _differences(
    task: str, rotation: Rotation, drawn: Drawn, family: Sequence[tuple[str, str]]
) -> list[dict[str, Any]]:
    """Compare pairs of arms at every fraction; p-values are corrected over all of them, for each metric."""
    rows = []
    for fraction in sorted({fraction for _, fraction in drawn}):
        for a, b in family:
            runs_a, runs_b = drawn.get((a, fraction), {}), drawn.get((b, fraction), {})
            if not (both := sorted(runs_a.keys() & runs_b.keys())):
                continue
            found = rotation.differences([runs_a[seed] for seed in both], [runs_b[seed] for seed in both])
            for metric, difference in found.items():
                row = _row(task, f"{a} - {b}", fraction, len(both), metric, difference)
                rows.append({**row, "p_value": difference.p_value, "detectable": difference.detectable})
    for metric in {row["metric"] for row in rows}:
        compared = [row for row in rows if row["metric"] == metric]
        for row, p_value in zip(compared, holm([row["p_value"] for row in compared])):
            row["p_value"] = p_value
    return rows


def _warn_of_no_gain(metric: Metric, rotation: Rotation, drawn: Drawn) -> None:
    """Say which arms are no better with more labels: their budget or their candidates may end too early."""
    fractions: dict[str, list[float]] = {}
    for arm, fraction in drawn:
        if arm not in UNTAUGHT:
            fractions.setdefault(arm, []).append(fraction)
    for arm, known in fractions.items():
        for few, more in pairwise(sorted(known)):
            both = sorted(drawn[arm, few].keys() & drawn[arm, more].keys())
            a, b = ([drawn[arm, share][seed] for seed in both] for share in (more, few))
            found = rotation.differences(a, b).get(metric.name)
            if found is not None and not metric.better(found.mean, 0.0):
                logger.warning(
                    "%s: no better with %g %% of the labels than with %g %% (%s %+.3f, %+.3f to %+.3f); its steps or "
                    "candidates may end too early",
                    *(arm, 100 * more, 100 * few, metric.label, found.mean, found.low, found.high),
                )


def _row(task: str, arm: str, fraction: float, seeds: int, metric: str, found: Interval | Difference) -> dict[str, Any]:
    return {
        "task": task,
        "arm": arm,
        "fraction": fraction,
        "seeds": seeds,
        "metric": metric,
        "mean": found.mean,
        "low": found.low,
        "high": found.high,
        "positives": found.positives,
        "negatives": found.negatives,
    }


def _per_class(task: Task, scores: Scores, labels: LabelTable, splits: Splits) -> pd.DataFrame:
    """What the task reports of every class, means over seeds; blank where the test records do not define it."""
    tables = []
    metrics = [metric.name for metric in task.class_metrics]
    for (arm, fraction), runs in scores.items():
        each = [task.per_class(labels.targets[splits.test], run) for run in runs.values()]
        table = each[0].assign(**{name: np.mean([t[name] for t in each], axis=0) for name in metrics})
        trained = [nested_fractions(labels, splits.train, [fraction], seed)[fraction] for seed in runs]
        counts = pd.DataFrame(
            {
                "class": labels.outcomes,
                "positives_train": np.mean([_positives(labels, index) for index in trained], axis=0),
                "positives_validation": _positives(labels, splits.validation),
                "negatives_test": np.sum(labels.outcome[splits.test] == 0, axis=0),
            }
        )
        table = counts.merge(table, on="class", how="right")
        tables.append(table.assign(task=task.name, arm=arm, fraction=fraction))
    counted = [*(f"positives_{part}" for part in ("train", "validation", "test")), "negatives_test"]
    return pd.concat(tables, ignore_index=True)[["task", "arm", "fraction", "class", *counted, *metrics]]


def _over_rounds(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Join the classes of several rounds: counts of test records are summed, all else is averaged."""
    if len(tables) == 1:
        return tables[0]
    joined, keys = pd.concat(tables, ignore_index=True), ["task", "arm", "fraction", "class"]
    how = {name: "sum" if name.endswith("_test") else "mean" for name in joined.columns if name not in keys}
    return joined.groupby(keys, sort=False, as_index=False).agg(how)


def _positives(labels: LabelTable, index: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.nansum(labels.outcome[index], axis=0).astype(np.int64)
