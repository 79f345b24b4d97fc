"""The tables of a comparison, from the folders of its finished runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ssl_ecg.archive.labels import LabelTable
from ssl_ecg.archive.splits import Splits
from ssl_ecg.evaluation import auprc_per_class, auroc_per_class, bootstrap_metrics, holm, paired_difference

Scores = dict[tuple[str, float], dict[int, NDArray[np.float32]]]
"""Test scores [n, C] of every (arm, fraction), by seed."""


def read_runs(folders: Iterable[Path]) -> tuple[pd.DataFrame, Scores, pd.DataFrame]:
    """Read finished runs.

    Args:
        folders: one a run; those without a result are passed over.

    Returns:
        Results, a row a run; test scores of every (arm, fraction) by seed; learning curves.
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
    task: str,
) -> pd.DataFrame:
    """Write ``results.csv``, ``summary.csv``, ``per_class.csv`` and ``curves.csv`` below ``out``.

    Paired differences are rows whose arm is "a - b", over the seeds that both have; their column ``p_value`` is
    corrected by Holm's method over all differences of a metric in one family.

    Args:
        out: folder of the tables.
        folders: one a run.
        families: each the arms (a, b) to compare, at every fraction that both have, to answer one question.
        labels: label table.
        splits: indices into ``labels``.
        replicates: bootstrap draws of patients.
        task: name.

    Returns:
        The summary.
    """
    results, scores, curves = read_runs(folders)
    targets, patient = labels.targets[splits.test], labels.patient[splits.test]
    rows = []
    for (arm, fraction), runs in scores.items():
        for metric, found in bootstrap_metrics(targets, np.stack(list(runs.values())), patient, replicates).items():
            rows.append(_row(task, arm, fraction, len(runs), metric, found))
    for family in families:
        rows += _differences(task, scores, family, targets, patient, replicates)
    summary = pd.DataFrame(rows)
    results.insert(0, "task", task)
    results.to_csv(out / "results.csv", index=False)
    summary.to_csv(out / "summary.csv", index=False, float_format="%.5g")
    _per_class(labels, splits, scores, task).to_csv(out / "per_class.csv", index=False, float_format="%.5g")
    if len(curves):
        curves.to_csv(out / "curves.csv", index=False, float_format="%.6g")
    return summary


def _differences(
    task: str,
    scores: Scores,
    family: Sequence[tuple[str, str]],
    targets: NDArray[np.float32],
    patient: NDArray[np.int64],
    replicates: int,
) -> list[dict[str, Any]]:
    """Compare pairs of arms at every fraction; p-values are corrected over all of them, for each metric."""
    rows = []
    for fraction in sorted({fraction for _, fraction in scores}):
        for a, b in family:
            runs_a, runs_b = scores.get((a, fraction), {}), scores.get((b, fraction), {})
            if not (both := sorted(runs_a.keys() & runs_b.keys())):
                continue
            scores_a, scores_b = (np.stack([runs[seed] for seed in both]) for runs in (runs_a, runs_b))
            for metric, found in paired_difference(targets, scores_a, scores_b, patient, replicates).items():
                row = _row(task, f"{a} - {b}", fraction, len(both), metric, found)
                rows.append({**row, "p_value": found.p_value})
    for metric in {row["metric"] for row in rows}:
        tested = [row for row in rows if row["metric"] == metric]
        for row, p_value in zip(tested, holm([row["p_value"] for row in tested])):
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


def _per_class(labels: LabelTable, splits: Splits, scores: Scores, task: str) -> pd.DataFrame:
    """AUROC and AUPRC of every class, means over seeds; blank where the test records lack one outcome."""
    targets = labels.targets[splits.test]
    positives = np.nansum(targets, axis=0).astype(int)
    rows = []
    for (arm, fraction), runs in scores.items():
        auroc = np.mean([auroc_per_class(targets, run) for run in runs.values()], axis=0)
        auprc = np.mean([auprc_per_class(targets, run) for run in runs.values()], axis=0)
        for c, name in enumerate(labels.classes):
            rows.append(
                {
                    "task": task,
                    "arm": arm,
                    "fraction": fraction,
                    "class": name,
                    "positives_test": positives[c],
                    "auroc": auroc[c],
                    "auprc": auprc[c],
                }
            )
    return pd.DataFrame(rows)
