"""Linear probes of features that are there already: what each way of reading them is worth, with paired differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ssl_ecg import SplitSettings
from ssl_ecg.comparison.arms import run_probe
from ssl_ecg.evaluation import holm
from ssl_ecg.evaluation.intervals import Bootstrap
from ssl_ecg.evaluation.rotation import Rotation
from ssl_ecg.labels import LabelTable
from ssl_ecg.labels.splits import Splits, nested_fractions
from ssl_ecg.tasks import create_task

ROUNDS = {1: 7, 3: 2, 5: 4}  # the fold that tests, and the one that chooses
SEEDS, FRACTIONS = range(5), (0.01, 0.1, 1.0)
METRIC = "macro_auroc"

Features = NDArray[np.float32]
Rows = NDArray[np.int64]
ReadOut = Callable[[Features, Rows], tuple[Features, Rows]]
"""what the probe sees of features of some rows [m], and the row of each"""


def rounds_of(labels: LabelTable) -> dict[int, Splits]:
    """Return the split of each round, by the fold that tests."""
    return {
        test: SplitSettings(validation_folds=(validation,), test_folds=(test,)).split(labels)
        for test, validation in ROUNDS.items()
    }


def probe(features: Features, read_out: ReadOut, labels: LabelTable, splits: Splits, fraction: float, seed: int):
    """Return the scores of what test records are read as, and the best score on validation."""
    train = nested_fractions(labels, splits.train, FRACTIONS, seed)[fraction]
    parts = [read_out(features, rows) for rows in (train, splits.validation, splits.test)]
    seen, targets = np.concatenate([part for part, _ in parts]), labels.targets[np.concatenate([of for _, of in parts])]
    places = np.split(np.arange(len(seen)), np.cumsum([len(part) for part, _ in parts])[:-1])
    outcome = run_probe(seen, targets, *places, create_task("arrhythmia", labels.classes))
    return outcome.scores, outcome.validation


def compared(
    features: Mapping[str, Mapping[int, Features]],
    read_out: ReadOut,
    labels: LabelTable,
    against: str,
    about: Mapping[str, str],
) -> pd.DataFrame:
    """Probe each set of features in every round and draw of labels.

    Args:
        features: by name and round, one row per record of the table.
        read_out: what the probe sees of them.
        labels: label table.
        against: the features that the others are compared with.
        about: further columns, the same in every row; the table is printed.

    Returns:
        These columns, then features, fraction, validation, mean, low, high, gain, gain_low, gain_high, p_value.
    """
    rounds = rounds_of(labels)
    first = next(iter(features.values()))
    tested = [read_out(first[test], splits.test)[1] for test, splits in rounds.items()]
    drawn = Rotation([Bootstrap(labels.targets[rows], labels.patient[rows]) for rows in tested])
    rows = []
    for fraction in FRACTIONS:
        scored, chosen = {}, {}
        for name, of_round in features.items():
            runs = [
                [probe(of_round[test], read_out, labels, s, fraction, seed) for test, s in rounds.items()]
                for seed in SEEDS
            ]
            scored[name] = [drawn.score([scores for scores, _ in run]) for run in runs]
            chosen[name] = np.mean([validation for run in runs for _, validation in run])
        for name, runs in scored.items():
            told = drawn.intervals(runs)[METRIC]
            gain = [np.nan] * 4 if name == against else drawn.differences(runs, scored[against])[METRIC][:4]
            rows.append((name, fraction, chosen[name], *told[:3], *gain))
    columns = ["features", "fraction", "validation", "mean", "low", "high", "gain", "gain_low", "gain_high", "p_value"]
    table = pd.DataFrame(rows, columns=columns).assign(**about)[[*about, *columns]]
    print(table.to_string(), flush=True)
    return table


def write(tables: Sequence[pd.DataFrame], path: Path) -> None:
    """Write tables as one, with p-values corrected for all that can be judged."""
    table = pd.concat(tables)
    judged = table["p_value"].notna()
    table.loc[judged, "holm"] = holm(table.loc[judged, "p_value"])
    table.to_csv(path, index=False, float_format="%.4g")
