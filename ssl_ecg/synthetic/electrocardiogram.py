"""One visit of one patient: from conditions and factors to twelve leads."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ssl_ecg.records.electrodes import DERIVATION, FIELD
from ssl_ecg.synthetic import morphology, rhythm
from ssl_ecg.synthetic.cohort import Patient
from ssl_ecg.synthetic.dipole import ATRIAL_FIELD, Waves, render, rotation
from ssl_ecg.synthetic.morphology import ATRIAL_WAVES, QRS, REPOLARISATION, VENTRICULAR_WAVES, T
from ssl_ecg.synthetic.noise import electrode_noise

RESTING_INTERVAL = 60 / 72
"""RR interval in seconds at which the wave tables hold."""


@dataclass(frozen=True)
class Heart:
    """What makes a patient's ECG the patient's own, the same at all visits.

    Attributes:
        shape: float64 [14, 6], standard normal: variation of eight ventricular, two atrial and four ectopic waves.
        turns: float64 [4, 2], degrees of frontal and transverse rotation of QRS, T, P and ectopic beats.
        gains: float64 [3], factors on QRS, T and P.
        chest: float64 [9, 3], deviation of the electrodes' field from its mean.
        repolarisation: Factor on QT.
        variability: Standard deviation of sinus intervals over their mean.
        hypertrophy: Factor on left ventricular forces if the patient has hypertrophy.
        strain: Depth of the strain pattern if so, from 0 to 1.
        long_pr: PR interval if the patient has first-degree block, seconds.
        coupling: Interval before an ectopic beat, in RR intervals.
        ectopic_period: Every how many beats one is ectopic, or None.
        wall: Where ST is elevated if it is.
        fibrillation: Frequency (Hz), amplitude (mV) and irregularity of the intervals in atrial fibrillation.
    """

    shape: np.ndarray
    turns: np.ndarray
    gains: np.ndarray
    chest: np.ndarray
    repolarisation: float
    variability: float
    hypertrophy: float
    strain: float
    long_pr: float
    coupling: float
    ectopic_period: int | None
    wall: str
    fibrillation: tuple[float, float, float]


def draw_heart(patient: Patient, rng: np.random.Generator) -> Heart:
    """The individual variation of one patient."""
    axis_with_age = -0.35 * (patient.age - 45)  # the axis turns left over the years
    turns = rng.normal(0, 1, (4, 2)) * np.array([[16, 10], [10, 9], [12, 8], [45, 45]])
    turns[0, 0] += axis_with_age
    turns[1] += 0.5 * turns[0]
    return Heart(
        shape=rng.normal(size=(14, 6)),
        turns=turns,
        gains=np.exp(rng.normal(0, 1, 3) * [0.16, 0.20, 0.18] + [-0.08 * (patient.sex == "female"), 0, 0]),
        chest=rng.normal(0, 1, (9, 3)) * np.array([0.015] * 3 + [0.06] * 6)[:, None],
        repolarisation=float(np.exp(rng.normal(0.02 * (patient.sex == "female"), 0.035))),
        variability=float(0.032 * np.exp(rng.normal(0, 0.4) - 0.012 * (patient.age - 60))),
        hypertrophy=rng.uniform(1.5, 1.9),
        strain=float(rng.choice([0.0, rng.uniform(0.7, 1)])),
        long_pr=rng.uniform(0.215, 0.31),
        coupling=rng.uniform(0.5, 0.66),
        ectopic_period=[None, None, None, 2, 3][rng.integers(5)],
        wall=list(morphology.ELEVATION)[rng.integers(len(morphology.ELEVATION))],
        fibrillation=(rng.uniform(4.5, 8.5), rng.lognormal(np.log(0.075), 0.35), rng.uniform(0.18, 0.28)),
    )


def record_ecg(
    patient: Patient,
    heart: Heart,
    conditions: frozenset[str],
    rate: float,
    sampling_rate: float,
    duration: float,
    rng: np.random.Generator,
    noise_rng: np.random.Generator | None,
) -> tuple[np.ndarray, dict[str, float]]:
    """Twelve leads of one visit.

    Args:
        patient: Whose factors shape the waves.
        heart: The patient's individual variation.
        conditions: What the ECG shows.
        rate: Beats a minute: of the sinus node, or of the ventricles in atrial fibrillation.
        sampling_rate: Hz.
        duration: Seconds.
        rng: Source of what the heart does; drawn the same at any sampling rate.
        noise_rng: Source of noise, or None for none.

    Returns:
        float64 [12, T] in mV in the order of ``records.LEADS``, and the truth: rates, intervals relative to the R time
        in seconds, the parameters of every wave.
    """
    samples = round(sampling_rate * duration)
    respiration = rng.normal(0.25, 0.035)
    field_shift = heart.chest + rng.normal(0, 1, (9, 3)) * np.array([0.01] * 3 + [0.035] * 6)[:, None]
    ventricles, atria, ectopic = _beats(patient, heart, conditions, rng)
    qrs_onset, _ = ventricles.span(QRS)
    pr = _pr_interval(patient, heart, conditions, rate)
    beats, sinus_rate = _rhythm(heart, conditions, rate, pr, respiration, duration, rng)

    breath = 0.035 * np.sin(2 * np.pi * respiration * beats.ventricular + rng.uniform(0, 2 * np.pi))
    gain = 1 + breath + rng.normal(0, 0.01, len(breath))
    qt = heart.repolarisation * (beats.interval / RESTING_INTERVAL)[:, None] ** (1 / 3)
    stretch = np.where(REPOLARISATION, qt, 1.0)
    ectopic_stretch = np.where(morphology.ECTOPIC_REPOLARISATION, qt, 1.0)

    normal, early = ~beats.ectopic, beats.ectopic
    dipole = render(
        ventricles, beats.ventricular[normal] - qrs_onset, sampling_rate, samples, stretch[normal], gain[normal]
    ) + render(ectopic, beats.ventricular[early], sampling_rate, samples, ectopic_stretch[early], gain[early])
    atrial = render(atria, beats.atrial, sampling_rate, samples)
    if "atrial_fibrillation" in conditions:
        atrial += fibrillatory_waves(*heart.fibrillation[:2], sampling_rate, samples, rng)

    potential = (FIELD + field_shift) @ dipole + (ATRIAL_FIELD + field_shift) @ atrial
    if noise_rng is not None:
        potential += electrode_noise(len(potential), samples, sampling_rate, respiration, noise_rng)

    scale = np.where(REPOLARISATION, qt.mean(), 1.0)
    mean_beat = Waves(ventricles.centre * scale, ventricles.rise * scale, ventricles.fall * scale, ventricles.vector)
    truth = _rates(beats, sinus_rate, duration) | _intervals(mean_beat, atria, pr if len(beats.atrial) else np.nan)
    return DERIVATION @ potential, truth | _parameters(VENTRICULAR_WAVES, mean_beat) | _parameters(ATRIAL_WAVES, atria)


def _rates(beats: rhythm.Rhythm, sinus_rate: float, duration: float) -> dict[str, float]:
    seen = beats.ventricular[(beats.ventricular > 0) & (beats.ventricular < duration)]
    intervals = np.diff(seen)
    return {
        "heart_rate": 60 / intervals.mean(),
        "sinus_rate": sinus_rate,
        "rr_variation": intervals.std() / intervals.mean(),
    }


def _intervals(ventricles: Waves, atria: Waves, pr: float) -> dict[str, float]:
    """Limits of P, QRS and T in seconds from the R time; without a P wave ``pr`` and with it P are NaN."""
    qrs_onset, qrs_end = ventricles.span(QRS)
    t_onset, t_end = ventricles.span(slice(T, T + 1), negligible=0)
    return {
        "pr_interval": pr,
        "p_onset": qrs_onset - pr,
        "p_end": qrs_onset - pr + atria.span(slice(None), negligible=0)[1],
        "qrs_onset": qrs_onset,
        "qrs_end": qrs_end,
        "t_onset": t_onset,
        "t_end": t_end,
    }


def _beats(
    patient: Patient, heart: Heart, conditions: frozenset[str], rng: np.random.Generator
) -> tuple[Waves, Waves, Waves]:
    """Waves of the ventricles, the atria and an ectopic beat, as this patient has them at this visit."""
    visit = rng.normal(size=(14, 6))
    sway = rng.normal(0, 2.5, (4, 2))
    turn = [rotation(degrees) for degrees in heart.turns + sway]
    gains = heart.gains * np.exp(rng.normal(0, [0.04, 0.10, 0.08]))
    injury = rng.uniform(0.75, 1.5)

    hypertrophic = "left_ventricular_hypertrophy" in conditions
    table = morphology.NORMAL
    if "left_bundle_branch_block" in conditions:
        table = morphology.LEFT_BUNDLE_BRANCH_BLOCK
    elif "right_bundle_branch_block" in conditions:
        table = morphology.RIGHT_BUNDLE_BRANCH_BLOCK
    ventricles = morphology.ventricular_waves(
        table,
        patient.ventricular,
        hypertrophy=heart.hypertrophy if hypertrophic else 1.0,
        strain=heart.strain if hypertrophic else 0.0,
    )

    def individual(waves: Waves, rows: slice) -> Waves:
        return morphology.vary(morphology.vary(waves, heart.shape[rows]), visit[rows], strength=0.25)

    ventricles = individual(ventricles, slice(0, 8))
    gain_qrs = max(gains[0], 0.95) if hypertrophic else gains[0]
    vector = np.where(
        REPOLARISATION[:, None], gains[1] * ventricles.vector @ turn[1].T, gain_qrs * ventricles.vector @ turn[0].T
    )
    ventricles = replace(ventricles, vector=vector)
    if "st_elevation" in conditions:
        ventricles = morphology.with_injury(ventricles, injury * np.array(morphology.ELEVATION[heart.wall]), 0.8)
    elif "st_depression" in conditions:
        ventricles = morphology.with_injury(ventricles, injury * np.array(morphology.DEPRESSION), 1.0)

    atria = individual(morphology.atrial_waves(patient.atrial), slice(8, 10))
    ectopic = individual(Waves.from_table(morphology.ECTOPIC), slice(10, 14))
    return (
        ventricles,
        morphology.turned(atria, turn[2], gains[2]),
        morphology.turned(ectopic, turn[3], 1.15 * gains[0]),
    )


def _pr_interval(patient: Patient, heart: Heart, conditions: frozenset[str], rate: float) -> float:
    """PR shortens with the rate; a long one must still leave room for the T wave before P."""
    if "first_degree_av_block" in conditions:
        return min(heart.long_pr, max(0.21, 0.5 * 60 / rate))
    return patient.pr * (72 / rate) ** 0.2


def _rhythm(
    heart: Heart,
    conditions: frozenset[str],
    rate: float,
    pr: float,
    respiration: float,
    duration: float,
    rng: np.random.Generator,
) -> tuple[rhythm.Rhythm, float]:
    """The beats of the record, and the rate of the sinus node in it (NaN in atrial fibrillation)."""
    end = duration + 1.0
    sinus_rate = np.nan
    if "atrial_fibrillation" in conditions:
        atrial = np.zeros(0)
        onsets = rhythm.fibrillation_onsets(rate, heart.fibrillation[2], end, rng)
        conducted = np.zeros(0, bool)
    else:
        atrial = rhythm.sinus_onsets(rate, heart.variability, respiration, end, rng)
        inside = atrial[(atrial > 0) & (atrial < duration)]
        sinus_rate = 60 / np.diff(inside).mean()
        group = int(rng.integers(3, 6)) if "second_degree_av_block" in conditions else None
        onsets, conducted = rhythm.conduct(atrial, pr, group, rng)

    ectopic = np.zeros(len(onsets), bool)
    if "premature_ventricular_contraction" in conditions:
        ectopic = rhythm.ectopic_beats(onsets, heart.ectopic_period, duration, rng)
        onsets = rhythm.bring_forward(onsets, ectopic, heart.coupling)
        if len(atrial):  # the sinus beat that the ectopic one forestalls
            atrial = np.delete(atrial, np.flatnonzero(conducted)[ectopic])
    interval = np.full(len(onsets), np.diff(onsets).mean()) if ectopic.any() else rhythm.adapted_interval(onsets)
    return rhythm.Rhythm(atrial, onsets, interval, ectopic), sinus_rate


def fibrillatory_waves(
    frequency: float, amplitude: float, sampling_rate: float, samples: int, rng: np.random.Generator
) -> np.ndarray:
    """The dipole of fibrillating atria: two sawtooth wavelets whose pace and height drift, largest in V1 and II.

    Args:
        frequency: Mean pace, Hz.
        amplitude: Height of a wavelet, mV.
        sampling_rate: Hz.
        samples: Length T of the record.
        rng: Source of randomness.

    Returns:
        float64 [3, T], mV.
    """
    clock = np.arange(samples) / sampling_rate
    dipole = np.zeros((3, samples))
    for direction, weight in (((-0.25, 0.60, -0.35), 1.0), ((0.15, 0.45, 0.20), 0.9)):
        pace = frequency * rng.uniform(0.85, 1.15)
        wobble = sum(
            rng.uniform(0.3, 0.8) * np.sin(2 * np.pi * f * clock + rng.uniform(0, 2 * np.pi)) for f in (0.4, 1.1, 2.3)
        )
        phase = 2 * np.pi * pace * clock + rng.uniform(0, 2 * np.pi) + wobble
        swell = 1 + 0.5 * np.sin(2 * np.pi * rng.uniform(0.2, 0.7) * clock + rng.uniform(0, 2 * np.pi))
        sawtooth = np.sin(phase) + 0.35 * np.sin(2 * phase + 0.3) + 0.12 * np.sin(3 * phase)
        dipole += weight * amplitude * np.array(direction)[:, None] * swell * sawtooth
    return dipole


def _parameters(names: tuple[str, ...], waves: Waves) -> dict[str, float]:
    columns = np.column_stack([waves.centre, waves.rise, waves.fall, waves.vector])
    return {
        f"{name}_{parameter}": value
        for name, row in zip(names, columns.tolist())
        for parameter, value in zip(("centre", "rise", "fall", "x", "y", "z"), row)
    }
