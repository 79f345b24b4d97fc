"""Cox regression of an outcome on columns of a table and a model: what each says of the hazard, alone and together."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from rich.table import Table as Shown

from ssl_ecg.labels import read_labels
from ssl_ecg.labels.splits import last_of_each_patient
from ssl_ecg.labels.tables import LabelTable
from ssl_ecg.runs import Table, lock, model_card, whole_folder, write_atomically, write_csv
from ssl_ecg.settings import SettingsError
from ssl_ecg.verbs._given import ArchiveLike, TableLike, opened, opened_for
from ssl_ecg.verbs._records import refuse_other
from ssl_ecg.verbs._testing import SeenSettings, unseen
from ssl_ecg.verbs.verb import console, verb

if TYPE_CHECKING:
    from ssl_ecg.tasks import Task

LAST = "cox.csv"
NETWORK = "network"
PREVALENT = "prevalent"
REPLICATES = 1000
_NEVER = 1e-6  # a risk of 0 or 1 has no logit

logger = logging.getLogger(__name__)

_LIMITS = """\
Hazards are taken to be proportional, and logarithms of them linear in every covariate; neither was tested. Records that
lack a covariate are left out. An association is no effect. With fewer than ten events a covariate, intervals are wide
and hardly to be trusted."""


class VerbSettings(SeenSettings):
    """Whose hazards, by what."""

    covariates: tuple[str, ...] = ()
    """columns of numbers of the label table; ``age`` and ``sex`` (female 0, male 1) may come from the manifest"""
    model: Path | None = None
    """a finished model: the logit of its risk is a covariate too, ``network``; null: none"""
    time: str = "time_days"
    """column of days to the event or to the end of follow-up"""
    event: str = "event"
    """column that is 1 where that was the event, 0 where follow-up ended without one"""


def show(found: pd.DataFrame, archive: str, labels: str, out: str) -> None:
    """Print hazard ratios and C-indices."""
    table = Shown("model", "covariate", "hazard ratio of 1", "95 % interval", "p", "C-index")
    for row in found.to_dict("records"):
        ends = f"{row['hazard_ratio_low']:.3g} to {row['hazard_ratio_high']:.3g}"
        ratio, p_value = f"{row['hazard_ratio']:.3g}", f"{row['p_value']:.2g}"
        table.add_row(row["model"], row["covariate"], ratio, ends, p_value, f"{row['c_index']:.3f}")
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
        One row per ``model`` ("alone", "together" and, with a network, "without_network") and ``covariate``:
        ``coefficient``, ``standard_error``, ``p_value`` (Wald), ``hazard_ratio`` of a difference of 1 and
        ``hazard_ratio_sd`` of a standard deviation, each with the ends of its 95 % interval (``_low``, ``_high``),
        ``deviation``, and ``missing``, how many patients lack the covariate. Of the model: ``c_index`` (Harrell's), by
        coefficients of other patients in ten folds, with its interval, and of "together" ``gain`` in it over
        "without_network", likewise, and ``gain_p_value``. ``records`` and ``events`` are the same for all.

    Raises:
        ValueError: nothing to regress on, a column that is missing or holds what is no number, a model of several
            classes or that has learned from these patients, or too few events.
    """
    if not settings.covariates and settings.model is None:
        raise SettingsError("covariates=(): there is nothing to regress on; name columns, such as [pvc_burden,age]")
    if NETWORK in settings.covariates:
        raise SettingsError(f"covariates={list(settings.covariates)}: {NETWORK} is what model=FOLDER adds; rename it")
    archive, folder = opened(archive), Path(out)
    refuse_other(folder)
    table, days, event, values = _read(archive, labels, settings)
    names = (*settings.covariates, *([NETWORK] if settings.model is not None else []))
    lacking = np.isnan(values)
    known = ~(lacking.any(axis=1) | np.isnan(days) | np.isnan(event))
    if not known.all():
        logger.warning("%d of %d patients lack follow-up or a covariate", (~known).sum(), len(known))
    found = regressions(names, values[known], days[known], event[known])
    missing = dict(zip(names, lacking.sum(axis=0).tolist()))
    found["missing"] = found["covariate"].map(missing)
    counts = [("records", known.sum()), ("of the table", len(table)), ("events", int(event[known].sum()))]
    counts += [(f"patients without {name}", count) for name, count in missing.items()]
    about: list[str | Table] = ["`cox.csv` has every number.", Table(("", ""), counts), Table(*_card_rows(found))]
    about += [_ranking(found)]
    with lock(folder), whole_folder(folder, last=LAST) as part:
        card = model_card("Cox regression", about, _LIMITS, settings.to_dict())
        write_atomically(part / "README.md", card)
        write_csv(part / LAST, found, float_format="%.6g")
    return found


def regressions(names: tuple[str, ...], values: np.ndarray, days: np.ndarray, event: np.ndarray) -> pd.DataFrame:
    """Return the table of ``cox``, without ``missing``, for covariates [n, P], days and events [n]."""
    from ssl_ecg.evaluation import (
        bootstrap_metrics,
        concordance_index,
        cox_regression,
        crossed_hazard,
        paired_difference,
    )

    deviation, everything = values.std(axis=0), list(range(len(names)))
    models = [*(("alone", [column]) for column in everything), ("together", everything)]
    if NETWORK in names and len(names) > 1:
        models.append(("without_network", everything[:-1]))

    def ranked(follow_up: Any, hazard: Any, weights: Any) -> dict[str, np.ndarray]:
        return {"c_index": concordance_index(follow_up[:, 0], follow_up[:, 1], hazard[:, 0], weights)}

    follow_up, every = np.column_stack([days, event]), np.arange(len(days))
    draws: dict[str, Any] = {"replicates": REPLICATES, "metrics": ranked, "outcome": event[:, None]}
    parts, hazards = [], {}
    for model, columns in models:
        fit = cox_regression(values[:, columns], days, event)
        row: dict[str, Any] = {"model": model, "covariate": [names[column] for column in columns]}
        row |= {"coefficient": fit.coefficient, "standard_error": fit.standard_error, "p_value": fit.p_value}
        for name, difference in (("hazard_ratio", 1.0), ("hazard_ratio_sd", deviation[columns])):
            row |= dict(zip((name, f"{name}_low", f"{name}_high"), fit.hazard_ratio(difference)))
        hazards[model] = crossed_hazard(values[:, columns], days, event)[:, None]
        index = bootstrap_metrics(follow_up, hazards[model], every, **draws)["c_index"]
        row |= {"c_index": index.mean, "c_index_low": index.low, "c_index_high": index.high}
        parts.append(pd.DataFrame({**row, "deviation": deviation[columns]}))
    found = pd.concat(parts, ignore_index=True)
    if "without_network" in hazards:
        gain = paired_difference(follow_up, hazards["together"], hazards["without_network"], every, **draws)["c_index"]
        given = {"gain": gain.mean, "gain_low": gain.low, "gain_high": gain.high, "gain_p_value": gain.p_value}
        found.loc[found["model"] == "together", list(given)] = list(given.values())
    return found.assign(records=len(days), events=int(event.sum()))


def _read(
    archive: Any, labels: TableLike, settings: VerbSettings
) -> tuple[LabelTable, np.ndarray, np.ndarray, np.ndarray]:
    """Return the label table, and days, events [n] and covariates [n, P] of its patients, NaN where not known."""
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
    network = np.empty((len(index), 0))
    if settings.model is not None:
        index, network = _risks(settings.model, archive, labels, table, index, settings)
    days, event, *values = numbers[index, : len(columns)].T
    if not np.isin(event[~np.isnan(event)], (0, 1)).all() or (days < 0).any():
        raise ValueError(f"time={settings.time!r}, event={settings.event!r}: must be days from 0 on, and 1 or 0")
    return table, days, event, np.column_stack([*values, network])


def _risks(
    folder: Path, archive: Any, labels: TableLike, table: LabelTable, index: np.ndarray, settings: VerbSettings
) -> tuple[np.ndarray, np.ndarray]:
    """Return the places in a table that a model may be asked about, and the logits of its risks there [n, 1]."""
    from scipy.special import logit

    from ssl_ecg.tasks import load_model
    from ssl_ecg.tasks.static_inputs import with_columns
    from ssl_ecg.training import predict_scores

    model = load_model(folder)
    archive = with_columns(opened_for(model.encoder, archive), labels, model.static)
    column = _column(model.task)
    index, _ = unseen(model, archive, table, index, settings)
    risk = model.task.predictions(predict_scores(model, archive, table.rows[index]))[column].to_numpy(np.float64)
    return index, logit(np.clip(risk, _NEVER, 1 - _NEVER))[:, None]


def _column(task: Task) -> str:
    """Return the column of predictions that is the risk.

    Raises:
        SettingsError: of several classes no single one is.
    """
    from ssl_ecg.tasks import Survival

    if isinstance(task, Survival):
        return "risk_at_horizon"
    if len(task.classes) != 1:
        raise SettingsError(f"model: it tells {len(task.classes)} classes apart and has no single risk; choose another")
    return f"{task.classes[0]}_score"


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


def _ranking(found: pd.DataFrame) -> Table:
    """Return how well the models with several covariates rank patients."""
    rows = []
    for row in found[found["model"] != "alone"].drop_duplicates("model").to_dict("records"):
        gain = row.get("gain", np.nan)
        said = "" if np.isnan(gain) else f"{gain:+.3f} ({row['gain_low']:+.3f} to {row['gain_high']:+.3f})"
        rows.append(
            (row["model"], f"{row['c_index']:.3f} ({row['c_index_low']:.3f} to {row['c_index_high']:.3f})", said)
        )
    return Table(("model", "C-index of other patients", "gain by the network"), rows)
