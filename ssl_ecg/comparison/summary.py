"""The tables of a comparison, from the folders of its finished runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ssl_ecg.archive.labels import LabelTable
from ssl_ecg.archive.splits import Splits
from ssl_ecg.evaluation import auprc_per_class, auroc_per_class, bootstrap_metrics, holm, paired_difference

# Each pretrained arm against the baselines that it must beat.
PAIRS = (
    ("pretrained_probe", "random_probe"),
    ("pretrained_probe", "scratch"),
    ("pretrained_finetune", "scratch"),
    ("pretrained_finetune", "pretrained_probe"),
)


def read_runs(out: Path) -> tuple[pd.DataFrame, dict[tuple[str, float], NDArray[np.float32]], pd.DataFrame]:
    """Read the finished runs below ``out``.

    Returns:
        Results, a row a run; test scores [seeds, n, C] of every (arm, fraction); learning curves.
    """
    rows: list[dict[str, Any]] = []
    scores: dict[tuple[str, float], list[NDArray[np.float32]]] = {}
    curves = []
    for path in sorted(out.glob("runs/*/result.json")):
        row = json.loads(path.read_text(encoding="utf-8"))
        row["folder"] = path.parent
        rows.append(row)
    rows.sort(key=lambda row: (row["fraction"], row["arm"], row["seed"]))
    for row in rows:
        folder = row.pop("folder")
        key = (row["arm"], row["fraction"])
        scores.setdefault(key, []).append(np.load(folder / "test_scores.npy", allow_pickle=False))
        if row.get("step") is not None:
            curve = pd.read_csv(folder / "curve.csv")
            curves.append(curve.assign(arm=row["arm"], fraction=row["fraction"], seed=row["seed"]))
    stacked = {key: np.stack(parts) for key, parts in scores.items()}
    return pd.DataFrame(rows), stacked, pd.concat(curves, ignore_index=True) if curves else pd.DataFrame()


def summarise(out: Path, labels: LabelTable, splits: Splits, replicates: int, task: str) -> pd.DataFrame:
    """Write ``results.csv``, ``summary.csv``, ``per_class.csv`` and ``curves.csv`` below ``out``.

    Paired differences are rows whose arm is "a - b"; their column ``p_value`` is corrected by Holm's method over all
    differences of a metric in this table.

    Returns:
        The summary.
    """
    results, scores, curves = read_runs(out)
    targets, patient = labels.targets[splits.test], labels.patient[splits.test]
    rows = []
    for (arm, fraction), runs in scores.items():
        for metric, found in bootstrap_metrics(targets, runs, patient, replicates).items():
            rows.append(_row(task, arm, fraction, len(runs), metric, found))
    differences = []
    for fraction in sorted({fraction for _, fraction in scores}):
        for a, b in PAIRS:
            runs_a, runs_b = scores.get((a, fraction)), scores.get((b, fraction))
            if runs_a is None or runs_b is None or len(runs_a) != len(runs_b):
                continue
            for metric, difference in paired_difference(targets, runs_a, runs_b, patient, replicates).items():
                row = _row(task, f"{a} - {b}", fraction, len(runs_a), metric, difference)
                differences.append({**row, "p_value": difference.p_value})
    summary = pd.DataFrame(rows + differences)
    if differences:
        for _, group in summary.dropna(subset="p_value").groupby("metric"):
            summary.loc[group.index, "p_value"] = holm(group["p_value"])
    results.insert(0, "task", task)
    results.to_csv(out / "results.csv", index=False)
    summary.to_csv(out / "summary.csv", index=False, float_format="%.5g")
    _per_class(labels, splits, scores, task).to_csv(out / "per_class.csv", index=False, float_format="%.5g")
    if len(curves):
        curves.to_csv(out / "curves.csv", index=False, float_format="%.6g")
    return summary


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


def _per_class(
    labels: LabelTable, splits: Splits, scores: dict[tuple[str, float], NDArray[np.float32]], task: str
) -> pd.DataFrame:
    """AUROC and AUPRC of every class, means over seeds; blank where the test records lack one outcome."""
    targets = labels.targets[splits.test]
    positives = np.nansum(targets, axis=0).astype(int)
    rows = []
    for (arm, fraction), runs in scores.items():
        auroc = np.mean([auroc_per_class(targets, run) for run in runs], axis=0)
        auprc = np.mean([auprc_per_class(targets, run) for run in runs], axis=0)
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
