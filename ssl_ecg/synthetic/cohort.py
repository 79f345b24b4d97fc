"""Who is in the archive: patients with latent factors, conditions and outcomes, and their visits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit
from scipy.stats import norm

CONDITIONS = (
    "sinus_rhythm",
    "sinus_bradycardia",
    "sinus_tachycardia",
    "atrial_fibrillation",
    "premature_ventricular_contraction",
    "left_bundle_branch_block",
    "right_bundle_branch_block",
    "first_degree_av_block",
    "second_degree_av_block",
    "st_elevation",
    "st_depression",
    "left_ventricular_hypertrophy",
)
RHYTHMS = CONDITIONS[:4]
"""One of these holds for every record."""
EXCLUSIVE = (
    RHYTHMS,
    ("atrial_fibrillation", "first_degree_av_block", "second_degree_av_block"),
    ("left_bundle_branch_block", "right_bundle_branch_block"),
    ("left_bundle_branch_block", "left_ventricular_hypertrophy"),
    ("left_bundle_branch_block", "st_elevation", "st_depression"),
)
"""Conditions of which an ECG can show one at most: the second hides or excludes the first."""

YEAR = 365.25
FOLLOW_UP = 10 * YEAR
"""Longest follow-up of a record, days."""
LOW_LVEF = 40.0
"""Percent; at or below it the left ventricular ejection fraction counts as low."""


@dataclass(frozen=True)
class Patient:
    """What stays the same from visit to visit.

    Attributes:
        age: Years at the first visit.
        sex: "female" or "male".
        first_visit: Days since 2010-01-01.
        visits: Days from the first visit, float64 [visits], the first 0.
        atrial: Atrial factor, standard normal.
        ventricular: Ventricular factor, standard normal.
        chronic: Conditions that every record shows.
        ectopy: Chance that a record has ventricular ectopic beats.
        heart_rate: Resting rate, beats a minute.
        pr: PR interval at 72 beats a minute, seconds.
        log_hazard: Logarithm of the yearly rate of atrial fibrillation.
        af_onset: Days from the first visit to the first atrial fibrillation; negative before it.
        last_seen: Days from the first visit to the end of follow-up.
        lvef_mean: Expected left ventricular ejection fraction given the factor, percent.
        lvef: The patient's own, percent.
    """

    age: float
    sex: str
    first_visit: int
    visits: np.ndarray
    atrial: float
    ventricular: float
    chronic: frozenset[str]
    ectopy: float
    heart_rate: float
    pr: float
    log_hazard: float
    af_onset: float
    last_seen: float
    lvef_mean: float
    lvef: float


LVEF_SPREAD, LVEF_MEASUREMENT = 4.5, 2.0
"""Standard deviations of LVEF given the ventricular factor, and of a measurement, percent."""


def draw_patient(visits: int, rng: np.random.Generator) -> Patient:
    """One patient of the cohort.

    Time to AF is exponential with proportional hazards: 2.6 % a year at factor 0 and age 62, times e^1.1 for each
    standard deviation of the atrial factor and e^0.35 for each 13 years of age. LVEF falls by 8 points for each
    standard deviation of the ventricular factor.

    Args:
        visits: How many ECGs the patient has.
        rng: Source of randomness.
    """
    age = float(np.clip(rng.normal(62, 13), 20, 92))
    male = rng.random() < 0.55
    atrial, ventricular = rng.normal(size=2)
    older = (age - 62) / 13

    gaps = np.round(7 + rng.exponential(300, visits - 1))
    days = np.concatenate([[0.0], np.cumsum(gaps)])
    log_hazard = np.log(0.026) + 1.1 * atrial + 0.35 * older
    onset = rng.exponential(YEAR / np.exp(log_hazard))
    if rng.random() < expit(-3.0 + 0.9 * atrial + 0.5 * older):
        onset = -rng.exponential(2 * YEAR)
    mean = 53 - 8 * ventricular
    return Patient(
        age=age,
        sex="male" if male else "female",
        first_visit=int(rng.integers(0, 3000)),
        visits=days,
        atrial=float(atrial),
        ventricular=float(ventricular),
        chronic=_chronic_conditions(atrial, ventricular, older, rng),
        ectopy=0.7 if rng.random() < expit(-2.2 + 0.5 * ventricular) else 0.0,
        heart_rate=float(np.exp(rng.normal(np.log(74), 0.19))),
        pr=float(np.clip(rng.normal(0.158, 0.016) + 0.004 * atrial + 0.004 * older, 0.115, 0.195)),
        log_hazard=float(log_hazard),
        af_onset=float(onset),
        last_seen=float(days[-1] + rng.uniform(30, FOLLOW_UP)),
        lvef_mean=float(mean),
        lvef=float(mean + rng.normal(0, LVEF_SPREAD)),
    )


def _chronic_conditions(atrial: float, ventricular: float, older: float, rng: np.random.Generator) -> frozenset[str]:
    chance = {
        "left_bundle_branch_block": expit(-3.3 + 0.8 * ventricular + 0.2 * older),
        "right_bundle_branch_block": expit(-2.8 + 0.3 * older),
        "left_ventricular_hypertrophy": expit(-2.4 + 0.3 * ventricular),
        "first_degree_av_block": expit(-2.7 + 0.4 * atrial + 0.4 * older),
        "second_degree_av_block": expit(-3.5 + 0.3 * older),
    }
    drawn = rng.random(len(chance))
    present = {name for (name, p), u in zip(chance.items(), drawn) if u < p}
    if "left_bundle_branch_block" in present:  # which hides hypertrophy and excludes the other bundle
        present -= {"right_bundle_branch_block", "left_ventricular_hypertrophy"}
    if "second_degree_av_block" in present:
        present -= {"first_degree_av_block"}
    return frozenset(present)


def draw_conditions(patient: Patient, day: float, rng: np.random.Generator) -> tuple[frozenset[str], float]:
    """Conditions of one visit, without the names of the sinus rates, and the rate in beats a minute.

    Args:
        patient: The patient.
        day: Days from the first visit.
        rng: Source of randomness.
    """
    present = set(patient.chronic)
    rate = patient.heart_rate * np.exp(rng.normal(0, 0.11))
    fibrillation, ectopy, elevation, depression = rng.random(4)
    if day >= patient.af_onset and fibrillation < 0.75:
        present -= {"first_degree_av_block", "second_degree_av_block"}
        present |= {"atrial_fibrillation"}
        rate *= 1.2
    if ectopy < patient.ectopy:
        present |= {"premature_ventricular_contraction"}
    if "left_bundle_branch_block" not in present:  # whose own ST shift hides that of ischaemia
        if elevation < 0.045:
            present |= {"st_elevation"}
        elif depression < 0.06:
            present |= {"st_depression"}
    return frozenset(present), float(np.clip(rate, 42, 150))


def outcomes(patient: Patient, day: float, rng: np.random.Generator) -> dict[str, float]:
    """Survival and LVEF of one visit, with the true risks.

    Returns:
        ``time_days`` to AF or to the end of follow-up, ``event`` 1 for AF, ``prevalent`` 1 where AF came before the
        visit (then time 0 and event 1); ``log_hazard`` and ``risk_5y``, the probability of AF within five years of
        somebody with that hazard and no AF yet; ``lvef`` in percent, ``low_lvef``, ``low_lvef_probability``.
    """
    prevalent = patient.af_onset <= day
    until_af, until_end = patient.af_onset - day, min(patient.last_seen - day, FOLLOW_UP)
    measured = float(np.clip(patient.lvef + rng.normal(0, LVEF_MEASUREMENT), 10, 78))
    spread = np.hypot(LVEF_SPREAD, LVEF_MEASUREMENT)
    return {
        "time_days": 0.0 if prevalent else float(np.ceil(min(until_af, until_end))),
        "event": int(prevalent or until_af <= until_end),
        "prevalent": int(prevalent),
        "log_hazard": patient.log_hazard,
        "risk_5y": float(-np.expm1(-5 * np.exp(patient.log_hazard))),
        "lvef": round(measured, 1),
        "low_lvef": int(round(measured, 1) <= LOW_LVEF),
        "low_lvef_probability": float(norm.cdf((LOW_LVEF - patient.lvef_mean) / spread)),
    }
