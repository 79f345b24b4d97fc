"""Who is in each part of a split: the first table of a paper."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ssl_ecg.archive.archive import Archive
from ssl_ecg.labels.tables import LabelTable


def describe_cohort(archive: Archive, labels: LabelTable, parts: Mapping[str, NDArray[np.int64]]) -> pd.DataFrame:
    """Count records, patients and outcomes, and sum up age and sex.

    Args:
        archive: whose manifest tells age (years) and sex.
        labels: label table.
        parts: by name of a part, where its records stand in ``labels``.

    Returns:
        ``characteristic`` and a column of text a part; sex and outcomes as counts with the share of those known.
    """
    columns = {name: _described(archive, labels, index) for name, index in parts.items()}
    table = pd.DataFrame(columns)
    table.insert(0, "characteristic", table.index)
    return table.reset_index(drop=True)


def _described(archive: Archive, labels: LabelTable, index: NDArray[np.int64]) -> dict[str, str]:
    people = archive.manifest.iloc[labels.rows[index]]
    age, sex, outcome = people["age"].dropna(), people["sex"].dropna(), labels.outcome[index]
    quartiles = age.quantile([0.25, 0.5, 0.75]).to_list()
    told = {
        "records": f"{len(index):,}",
        "patients": f"{len(np.unique(labels.patient[index])):,}",
        "age, median (quartiles)": "{1:.0f} ({0:.0f} to {2:.0f})".format(*quartiles) if len(age) else "unknown",
        "age unknown": f"{len(people) - len(age):,}",
        "female": _share(float((sex == "female").sum()), len(sex)),
        "sex unknown": f"{len(people) - len(sex):,}",
    }
    for name, column in zip(labels.outcomes, outcome.T):
        told[name] = _share(float(np.nansum(column)), int(np.count_nonzero(~np.isnan(column))))
    return told


def _share(count: float, among: float) -> str:
    return f"{count:,.0f} ({100 * count / among:.1f} %)" if among else "unknown"
