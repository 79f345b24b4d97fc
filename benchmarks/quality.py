"""Which recordings are no ECGs: thresholds chosen on four fifths of CinC 2011, judged on the fifth that was left out.

    python benchmarks/quality.py $SSL_ECG_DATA/cinc2011

The rules are those of ``ssl_ecg.records.quality``; a record is refused if it breaks one. In each of five folds the
thresholds are chosen one after the other, each the best beside the others, until none changes; the folds are drawn
three times. "Sensitivity" is the share of the unacceptable that are refused, "specificity" that of the acceptable that
are kept.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ssl_ecg.records import LEADS, QualityLimits, RecordError, read_records
from ssl_ecg.records.quality import lead_scores

FOLDS, DRAWS, STEPS = 5, 3, 200
Flags = NDArray[np.bool_]
Scores = dict[str, NDArray[np.float64]]
Criterion = Callable[[Flags, Flags], float]


def scored(folder: Path) -> tuple[Scores, Flags]:
    """Return the worst lead of each record by each rule, more is worse, and which are unacceptable."""
    table = pd.read_csv(folder / "quality.csv", dtype=str)
    table = table[table["quality"].isin(("acceptable", "unacceptable"))]
    headers = {header.stem: header for header in folder.rglob("*.hea")}
    rows = []
    for name in table["record"]:
        try:
            record = next(read_records(headers[Path(name).name]))
            scores = lead_scores(record.select(LEADS)[:, :5000], record.sampling_rate, LEADS)
            rows.append({rule: -values.min() if rule == "flat" else values.max() for rule, values in scores.items()})
        except RecordError:  # a lead is missing, whatever the thresholds
            rows.append(dict.fromkeys(rows[0], np.inf))
    frame = pd.DataFrame(rows)
    return {rule: frame[rule].to_numpy(float) for rule in frame}, (table["quality"] == "unacceptable").to_numpy()


def chosen(scores: Scores, bad: Flags, criterion: Criterion) -> dict[str, float]:
    """Choose a threshold for each rule."""
    grids = {rule: np.append(np.unique(np.quantile(x[np.isfinite(x)], np.linspace(0.3, 1, STEPS))), np.inf)
             for rule, x in scores.items()}  # fmt: skip
    limits = dict.fromkeys(scores, np.inf)
    for _ in range(10):
        before = dict(limits)
        for rule, grid in grids.items():
            others = refused({name: x for name, x in scores.items() if name != rule}, limits)
            worth = [criterion(others | (scores[rule] > limit), bad) for limit in grid]
            limits[rule] = float(grid[len(grid) - 1 - int(np.argmax(worth[::-1]))])  # of equals the loosest
        if limits == before:
            break
    return limits


def refused(scores: Scores, limits: dict[str, float]) -> Flags:
    """Tell which records break a rule."""
    return np.any([(x > limits[rule]) | np.isinf(x) for rule, x in scores.items()], axis=0)


def accuracy(told: Flags, bad: Flags) -> float:
    """Return the share of all records that are judged as the cardiologists did."""
    return float((told == bad).mean())


def balanced(told: Flags, bad: Flags) -> float:
    """Return the mean of sensitivity and specificity."""
    return float(told[bad].mean() + (~told[~bad]).mean()) / 2


def out_of_fold(scores: Scores, bad: Flags, criterion: Criterion, seed: int) -> Flags:
    """Judge each record by thresholds that were chosen without its fold."""
    rng, fold = np.random.default_rng(seed), np.zeros(len(bad), int)
    for group in (bad, ~bad):
        rows = rng.permutation(np.flatnonzero(group))
        fold[rows] = np.arange(len(rows)) % FOLDS
    told = np.zeros(len(bad), bool)
    for left_out in range(FOLDS):
        train, test = fold != left_out, fold == left_out
        limits = chosen({rule: x[train] for rule, x in scores.items()}, bad[train], criterion)
        told[test] = refused({rule: x[test] for rule, x in scores.items()}, limits)
    return told


def main(folder: str) -> None:
    """Print sensitivity, specificity and accuracy of the defaults, and of thresholds that were chosen out of fold."""
    scores, bad = scored(Path(folder))
    limits = QualityLimits()
    defaults = {rule: -limits.flat if rule == "flat" else getattr(limits, rule) for rule in scores}
    judged = {"defaults": [refused(scores, defaults)]}
    for criterion in (accuracy, balanced):
        judged[f"out of fold, by {criterion.__name__}"] = [
            out_of_fold(scores, bad, criterion, seed) for seed in range(DRAWS)
        ]
    print(f"{len(bad)} records, {bad.sum()} unacceptable")
    for name, draws in judged.items():
        numbers = np.mean([[t[bad].mean(), (~t[~bad]).mean(), accuracy(t, bad)] for t in draws], axis=0)
        print(f"{name}: sensitivity {numbers[0]:.3f}, specificity {numbers[1]:.3f}, accuracy {numbers[2]:.3f}")


if __name__ == "__main__":
    main(sys.argv[1])
