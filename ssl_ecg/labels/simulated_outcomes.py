"""Simulated outcomes of real ECGs: the hazards are made up, and depend on age and on real statements.

No open archive of 12-lead ECGs has outcomes. With these a network must find real statements in real signals, and how
well it could at best rank is known. Nothing here says anything of patients: all tables carry ``simulated`` = 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from ssl_ecg.archive.archive import Archive
from ssl_ecg.labels.tables import LabelTable, read_labels

YEAR = 365.25
REFERENCE_AGE = 60.0
"""Years, at which age adds nothing; also of patients whose age is not known."""

# Made up: the order is plausible, the sizes are such that a network can be told from a coin with some thousand ECGs.
AF_EFFECTS: Mapping[str, float] = {"LAO/LAE": 1.0, "PAC": 1.0, "1AVB": 0.7, "LVH": 0.7, "CLBBB": 0.7, "NORM": -0.7}
"""Log hazard ratios of PTB-XL's statements."""
AF_PRESENT = ("AFIB", "AFLT")
LVEF_EFFECTS: Mapping[str, float] = {
    "CLBBB": 2.0,
    "AMI": 1.5,
    "ASMI": 1.5,
    "ALMI": 1.5,
    "PVC": 1.0,
    "IMI": 0.7,
    "LVH": 0.7,
    "NORM": -1.5,
}
"""Log odds ratios of PTB-XL's statements."""


def simulate_outcomes(
    archive: Archive,
    statements: str | Path | pd.DataFrame,
    seed: int = 0,
    *,
    effects: Mapping[str, float] = AF_EFFECTS,
    per_decade: float = 0.5,
    yearly_hazard: float = 0.03,
    shape: float = 1.0,
    history_years: float = 3.0,
    follow_up_years: tuple[float, float] = (0.5, 10.0),
    present: Sequence[str] = AF_PRESENT,
) -> pd.DataFrame:
    """Draw times to atrial fibrillation and to the end of follow-up, one of each a patient.

    A patient's cumulative hazard t years after the process began is ``yearly_hazard exp(lp) t^shape`` (Weibull; 1 is
    exponential), with lp the sum of ``effects`` of the statements that any ECG of the patient makes, and of
    ``per_decade`` for each ten years above 60 at the first ECG. It began ``history_years`` before the first ECG: AF by
    then is prevalent, and so it is where an ECG shows AF. ECGs of a patient are as many days apart as they were
    recorded; those without a date count as recorded with the first.

    Args:
        archive: holds the records, with ages and dates.
        statements: label table of the statements.
        seed: of everything random.
        effects: log hazard ratio of each statement, a column of the table.
        per_decade: log hazard ratio of ten years of age.
        yearly_hazard: at age 60 without any statement, for shape 1.
        shape: of the Weibull distribution.
        history_years: how long before the first ECG the process began.
        follow_up_years: shortest and longest follow-up after the last ECG, drawn evenly whatever the hazard is.
        present: statements that AF is there already.

    Returns:
        A row a record: ``record_id``, ``fold`` where the table has one, ``time_days``, ``event`` and ``prevalent`` as
        ``af_survival`` reads them, ``true_log_hazard`` (logarithm of the patient's yearly rate, for shape 1),
        ``true_risk_5y`` (the chance of AF within five years of who has none yet) and ``simulated``, 1.

    Raises:
        ValueError: a statement that the table lacks, or an impossible number.
    """
    if not (yearly_hazard > 0 and shape > 0 and history_years >= 0 and 0 < follow_up_years[0] <= follow_up_years[1]):
        raise ValueError(
            f"yearly_hazard={yearly_hazard:g}, shape={shape:g}, history_years={history_years:g}, "
            f"follow_up_years={tuple(follow_up_years)}: rates, shape and follow-up must be above 0, fewest years first"
        )
    labels = read_labels(statements, archive, [*effects, *present])
    people, person = np.unique(labels.patient, return_inverse=True)
    makes = _any_ecg(labels.targets, person)
    hazard = yearly_hazard * np.exp(_predictor(archive, labels, person, makes, effects, per_decade))
    rng = np.random.default_rng(seed)
    onset = (rng.exponential(1, len(people)) / hazard) ** (1 / shape) - history_years  # years after the first ECG
    onset[makes[:, len(effects) :].any(axis=1)] = -history_years
    years, last = _years_after_first(labels, person)
    end = last + rng.uniform(*follow_up_years, len(people))

    onset, end, hazard = onset[person] - years, end[person] - years, hazard[person]
    began = years + history_years
    coming = hazard * ((began + 5) ** shape - began**shape)
    prevalent = onset <= 0
    outcomes = {
        "time_days": np.where(prevalent, 0, np.ceil(YEAR * np.minimum(onset, end))),
        "event": (onset <= end).astype(int),
        "prevalent": prevalent.astype(int),
        "true_log_hazard": np.log(hazard),
        "true_risk_5y": -np.expm1(-coming),
    }
    return _table(archive, labels, outcomes)


def simulate_lvef(
    archive: Archive,
    statements: str | Path | pd.DataFrame,
    seed: int = 0,
    *,
    effects: Mapping[str, float] = LVEF_EFFECTS,
    per_decade: float = 0.2,
    log_odds: float = -2.5,
) -> pd.DataFrame:
    """Draw whether a patient's left ventricular ejection fraction is low; all ECGs of a patient share it.

    Args:
        archive: holds the records, with ages.
        statements: label table of the statements.
        seed: of the draw.
        effects: log odds ratio of each statement that any ECG of the patient makes, a column of the table.
        per_decade: log odds ratio of ten years of age above 60 at the first ECG.
        log_odds: at age 60 without any statement.

    Returns:
        A row a record: ``record_id``, ``fold`` where the table has one, ``low_lvef``, ``true_probability`` and
        ``simulated``, 1.

    Raises:
        ValueError: a statement that the table lacks.
    """
    labels = read_labels(statements, archive, [*effects])
    people, person = np.unique(labels.patient, return_inverse=True)
    makes = _any_ecg(labels.targets, person)
    chance = expit(log_odds + _predictor(archive, labels, person, makes, effects, per_decade))
    low = np.random.default_rng(seed).random(len(people)) < chance
    return _table(archive, labels, {"low_lvef": low[person].astype(int), "true_probability": chance[person]})


def _any_ecg(targets: NDArray[np.float32], person: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Whether any ECG of a patient makes a statement, bool [people, statements]."""
    makes = np.zeros((person.max() + 1, targets.shape[1]), dtype=bool)
    np.logical_or.at(makes, person, targets == 1)
    return makes


def _predictor(
    archive: Archive,
    labels: LabelTable,
    person: NDArray[np.intp],
    makes: NDArray[np.bool_],
    effects: Mapping[str, float],
    per_decade: float,
) -> NDArray[np.float64]:
    """Sum of the effects of statements and age, [people]."""
    ages = archive.manifest["age"].to_numpy(np.float64)[labels.rows]
    first = np.full(len(makes), np.inf)
    np.minimum.at(first, person, np.where(np.isnan(ages), np.inf, ages))
    decades = (np.where(np.isinf(first), REFERENCE_AGE, first) - REFERENCE_AGE) / 10
    return makes[:, : len(effects)] @ np.array([*effects.values()], np.float64) + per_decade * decades


def _years_after_first(labels: LabelTable, person: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Years from the patient's first ECG to each, [n], and to the last one, [people]."""
    assert labels.recorded_at is not None
    dates = labels.recorded_at.astype("datetime64[us]")
    micro = np.where(np.isnat(dates), np.inf, dates.astype(np.float64))
    first = np.full(person.max() + 1, np.inf)
    np.minimum.at(first, person, micro)
    dated = np.isfinite(micro)
    years = np.zeros(len(person))
    years[dated] = (micro[dated] - first[person[dated]]) / (1e6 * 86400 * YEAR)
    last = np.zeros(len(first))
    np.maximum.at(last, person, years)
    return years, last


def _table(archive: Archive, labels: LabelTable, outcomes: Mapping[str, NDArray[np.generic]]) -> pd.DataFrame:
    table = pd.DataFrame({"record_id": archive.manifest["record_id"].to_numpy(object)[labels.rows]})
    if labels.fold is not None:
        table["fold"] = labels.fold
    return table.assign(**outcomes, simulated=1)
