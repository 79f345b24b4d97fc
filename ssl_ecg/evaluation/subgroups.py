"""Metrics by subgroup: for whom does a model work, and for whom not?

Groups come from a column: age in four bands, numbers by quartile, anything else by value; records without a value are a
group of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from ssl_ecg.evaluation.intervals import Interval, Metrics, bootstrap_metrics
from ssl_ecg.evaluation.metrics import undefined_classes

AGE_BANDS = {"below 50": 0.0, "50 to 64": 50.0, "65 to 79": 65.0, "80 and above": 80.0}
"""Name of each band and the age at which it begins, in years."""
UNKNOWN = "unknown"
MOST_VALUES = 5
"""A column of numbers with more distinct values than this is cut into quarters."""
MOST_GROUPS = 20
IDENTIFYING = ("patient_id", "record_id")


def group_by(column: pd.Series) -> pd.Categorical:
    """Group records by a column; the column called ``age`` is in years.

    Args:
        column: [n], one value per record, or blank.

    Returns:
        The group of each record, [n], with the groups in order: ages and numbers upwards, "unknown" (blank) last. With
        quarters, a value on a border belongs to the lower one.

    Raises:
        ValueError: a column that identifies patients or records, or one with more than ``MOST_GROUPS`` values.
    """
    name = str(column.name)
    if name in IDENTIFYING:
        raise ValueError(f"subgroups={name!r}: a table of single patients is no subgroup table; choose another column")
    values = column.reset_index(drop=True)
    if pd.api.types.is_bool_dtype(values):
        values = values.astype(object).map({True: "yes", False: "no"})
    if not pd.api.types.is_numeric_dtype(values):
        values = values.astype(object).where(values.notna() & (values.astype(str).str.strip() != ""))
        if values.notna().any() and pd.to_numeric(values, errors="coerce").notna().equals(values.notna()):
            values = pd.to_numeric(values)
    if name == "age":
        groups = _age_bands(values)
    elif pd.api.types.is_numeric_dtype(values) and values.nunique() > MOST_VALUES:
        groups = _quarters(values.astype(np.float64))
    else:
        groups = _by_value(values, name)
    blank = groups.isna()
    return groups.add_categories([UNKNOWN]).fillna(UNKNOWN) if blank.any() else groups


def subgroup_metrics(
    targets: ArrayLike,
    scores: ArrayLike,
    patient: ArrayLike,
    groups: Mapping[str, pd.Categorical],
    metrics: Metrics,
    outcome: ArrayLike,
    outcomes: Sequence[str],
    replicates: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Metrics of each group, with a patient-level bootstrap within it.

    Args:
        targets: [n, C], whatever ``metrics`` reads.
        scores: [n, D].
        patient: [n], any ids.
        groups: by column, the group of each record [n].
        metrics: what to compute, each between 0 and 1.
        outcome: [n, K], 1, 0 or NaN, which no replicate may lose.
        outcomes: names of the K outcomes.
        replicates: bootstrap draws.
        seed: of the bootstrap.

    Returns:
        A row a column, group and metric: ``column``, ``group``, ``records``, ``patients``, ``positives_OUTCOME`` and
        ``negatives_OUTCOME`` (records) for each outcome, ``metric``, ``mean``, ``low``, ``high``. What a group does
        not define is NaN, and so is its interval where draws of its patients would say nothing: see
        ``telling_weights``.
    """
    target, score, person = np.asarray(targets), np.asarray(scores, dtype=np.float64), np.asarray(patient)
    known = np.asarray(outcome, dtype=np.float64)
    names = list(metrics(target, score, np.ones((len(target), 1))))
    rows = []
    for column, members in groups.items():
        for group in members.categories:
            here = np.flatnonzero(members == group)
            counts = {"positives": np.sum(known[here] == 1, axis=0), "negatives": np.sum(known[here] == 0, axis=0)}
            described = {
                "column": column,
                "group": group,
                "records": len(here),
                "patients": len(np.unique(person[here])),
                **{
                    f"{value}_{name}": count
                    for value, each in counts.items()
                    for name, count in zip(outcomes, each.tolist(), strict=True)
                },
            }
            found: dict[str, Interval] = {}
            if not undefined_classes(known[here]).all():
                found = bootstrap_metrics(
                    target[here], score[here], person[here], replicates, seed, metrics=metrics, outcome=known[here]
                )
            for metric in names:
                ends = found[metric][:3] if metric in found else (np.nan,) * 3
                rows.append({**described, "metric": metric, **dict(zip(("mean", "low", "high"), ends))})
    return pd.DataFrame(rows)


def _age_bands(values: pd.Series) -> pd.Categorical:
    years = pd.to_numeric(values, errors="coerce").astype(np.float64)
    if (bad := years.isna() & values.notna()).any() or (years < 0).any():
        wrong = values[bad | (years < 0)].iloc[0]
        raise ValueError(f"subgroups='age': {str(wrong)!r} is no age in years; name another column")
    bands = pd.cut(years, [*AGE_BANDS.values(), np.inf], right=False, labels=list(AGE_BANDS))
    return pd.Categorical(bands).remove_unused_categories()


def _quarters(values: pd.Series) -> pd.Categorical:
    borders = np.unique(np.nanquantile(values, (0.25, 0.5, 0.75)))
    rounded = ([f"{border:.{digits}g}" for border in borders] for digits in range(4, 18))
    shown = next(names for names in rounded if len(set(names)) == len(names))  # no more digits than tell them apart
    names = [f"up to {shown[0]}", *(f"{a} to {b}" for a, b in pairwise(shown)), f"above {shown[-1]}"]
    index = np.where(values.isna(), -1, np.searchsorted(borders, values, side="left"))
    return pd.Categorical.from_codes(index, pd.Index(names, dtype=object)).remove_unused_categories()


def _by_value(values: pd.Series, name: str) -> pd.Categorical:
    numbers = pd.api.types.is_numeric_dtype(values)
    there = sorted(values.dropna().unique(), key=None if numbers else str)  # a column may hold 1 as well as "new"
    if len(there) > MOST_GROUPS:
        raise ValueError(
            f"subgroups={name!r}: {len(there)} different values; choose a column of at most {MOST_GROUPS} or of numbers"
        )
    shown = {value: str(value).removesuffix(".0") for value in there}
    return pd.Categorical(values.map(shown), categories=pd.Index(dict.fromkeys(shown.values()), dtype=object))
