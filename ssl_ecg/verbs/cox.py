"""Cox regression of an outcome on columns of a table: what each says of the hazard, alone and beside the others."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table as Shown

from ssl_ecg.labels import read_labels
from ssl_ecg.labels.splits import last_of_each_patient
from ssl_ecg.labels.tables import LabelTable
from ssl_ecg.runs import Table, lock, model_card, whole_folder, write_atomically, write_csv
from ssl_ecg.settings import Settings, SettingsError
from ssl_ecg.verbs._given import ArchiveLike, TableLike, opened
from ssl_ecg.verbs._records import refuse_other
from ssl_ecg.verbs.verb import console, verb

LAST = "cox.csv"
PREVALENT = "prevalent"

logger = logging.getLogger(__name__)

_LIMITS = """\
Hazards are taken to be proportional, and logarithms of them linear in every covariate; neither was tested. Records that
lack a covariate are left out. An association is no effect. With fewer than ten events a covariate, intervals are wide
and hardly to be trusted."""


class VerbSettings(Settings):
    """Whose hazards, by what."""

    covariates: tuple[str, ...] = ()
    """columns of numbers of the label table; ``age`` and ``sex`` (female 0, male 1) may come from the manifest"""
    time: str = "time_days"
    """column of days to the event or to the end of follow-up"""
    event: str = "event"
    """column that is 1 where that was the event, 0 where follow-up ended without one"""


def show(found: pd.DataFrame, archive: str, labels: str, out: str) -> None:
    """Print hazard ratios."""
    table = Shown("model", "covariate", "hazard ratio of 1", "95 % interval", "p")
    for row in found.to_dict("records"):
        ends = f"{row['hazard_ratio_low']:.3g} to {row['hazard_ratio_high']:.3g}"
        table.add_row(row["model"], row["covariate"], f"{row['hazard_ratio']:.3g}", ends, f"{row['p_value']:.2g}")
    console.print(table)
    console.print(f"{LAST} and a card lie in {out}")


@verb(VerbSettings, show)
def cox(archive: ArchiveLike, labels: TableLike, out: str | Path, *, settings: VerbSettings) -> pd.DataFrame:
    """Regress the time to an event on columns, each alone and all together (Cox 1972; ties as Efron 1977 treats them).

    Args:
        archive: the archive, or its folder; it knows the patients.
        labels: table with a row per record, its columns of follow-up and the covariates, such as PVC burden. Of each
            patient the last record counts; those with a 1 under ``prevalent``, where it has that column, are left out.
        out: folder for ``cox.csv`` and a card.
        settings: all settings at once, in place of single ones by name.

    Returns:
        One row per ``model`` ("alone", "together") and ``covariate``: ``coefficient``, ``standard_error``, ``p_value``
        (Wald), ``hazard_ratio`` of a difference of 1 and ``hazard_ratio_sd`` of a standard deviation, each with the
        ends of its 95 % interval (``_low``, ``_high``), ``deviation``, ``records`` and ``events``: the same for all.

    Raises:
        ValueError: no covariates, a column that is missing or holds what is no number, or no record with an event.
    """
    if not settings.covariates:
        raise SettingsError("covariates=(): there is nothing to regress on; name columns, such as [pvc_burden,age]")
    archive, folder = opened(archive), Path(out)
    refuse_other(folder)
    table, days, event, values = _complete(archive, labels, settings)
    found = regressions(settings.covariates, values, days, event)
    counts = [("records", len(days)), ("of the table", len(table)), ("events", int(event.sum()))]
    about: list[str | Table] = ["`cox.csv` has every number.", Table(("", ""), counts), Table(*_card_rows(found))]
    with lock(folder), whole_folder(folder, last=LAST) as part:
        card = model_card("Cox regression", about, _LIMITS, settings.to_dict())
        write_atomically(part / "README.md", card)
        write_csv(part / LAST, found, float_format="%.6g")
    return found


def regressions(names: tuple[str, ...], values: np.ndarray, days: np.ndarray, event: np.ndarray) -> pd.DataFrame:
    """Return the table of ``cox`` for covariates [n, P], days and events [n]."""
    from ssl_ecg.evaluation import cox_regression

    deviation = values.std(axis=0)
    parts = []
    everything = list(range(len(names)))
    for model, columns in (*(("alone", [column]) for column in everything), ("together", everything)):
        fit = cox_regression(values[:, columns], days, event)
        row: dict[str, Any] = {"model": model, "covariate": [names[column] for column in columns]}
        row |= {"coefficient": fit.coefficient, "standard_error": fit.standard_error, "p_value": fit.p_value}
        for name, difference in (("hazard_ratio", 1.0), ("hazard_ratio_sd", deviation[columns])):
            row |= dict(zip((name, f"{name}_low", f"{name}_high"), fit.hazard_ratio(difference)))
        parts.append(pd.DataFrame({**row, "deviation": deviation[columns]}))
    return pd.concat(parts, ignore_index=True).assign(records=len(days), events=int(event.sum()))


def _complete(
    archive: Any, labels: TableLike, settings: VerbSettings
) -> tuple[LabelTable, np.ndarray, np.ndarray, np.ndarray]:
    """Return the label table, and days, events [n] and covariates [n, P] of its patients of whom all is known."""
    columns = [settings.time, settings.event, *settings.covariates]
    try:
        table = read_labels(labels, archive, [*columns, PREVALENT], numbers=True)
    except ValueError as error:
        if f"has no column {PREVALENT};" not in str(error):
            raise
        table = read_labels(labels, archive, columns, numbers=True)
    numbers = table.targets.astype(np.float64)
    free = numbers[:, len(columns) :].sum(axis=1) == 0
    index = last_of_each_patient(table, np.flatnonzero(free))
    known = index[~np.isnan(numbers[index, : len(columns)]).any(axis=1)]
    if len(known) < len(index):
        logger.warning("%d of %d patients lack follow-up or a covariate", len(index) - len(known), len(index))
    days, event, *values = numbers[known, : len(columns)].T
    if not np.isin(event, (0, 1)).all() or (days < 0).any():
        raise ValueError(f"time={settings.time!r}, event={settings.event!r}: must be days from 0 on, and 1 or 0")
    return table, days, event, np.column_stack(values)


def _card_rows(found: pd.DataFrame) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    head = ("model", "covariate", "hazard ratio of 1", "of a standard deviation", "p")
    rows = []
    for row in found.to_dict("records"):
        ratios = (
            f"{row[name]:.3g} ({row[f'{name}_low']:.3g} to {row[f'{name}_high']:.3g})"
            for name in ("hazard_ratio", "hazard_ratio_sd")
        )
        rows.append((str(row["model"]), str(row["covariate"]), *ratios, f"{row['p_value']:.2g}"))
    return head, rows
