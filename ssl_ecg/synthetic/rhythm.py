"""When the atria and the ventricles beat: sinus rhythm, atrial fibrillation, AV block, ectopic beats."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LEAD_IN = 3.0
"""Seconds of rhythm before the record starts, so that its first beats are as long as the others."""


@dataclass(frozen=True)
class Rhythm:
    """The events of one record, seconds from its first sample.

    Attributes:
        atrial: P wave onsets, float64 [P]; empty in atrial fibrillation.
        ventricular: QRS onsets, float64 [B].
        interval: The RR interval that repolarisation has adapted to, float64 [B], seconds.
        ectopic: bool [B], the beats that start in the ventricles.
    """

    atrial: np.ndarray
    ventricular: np.ndarray
    interval: np.ndarray
    ectopic: np.ndarray


def sinus_onsets(
    rate: float, variability: float, respiration: float, end: float, rng: np.random.Generator
) -> np.ndarray:
    """P wave onsets of sinus rhythm: intervals that follow breathing, the slow Mayer wave and a drift.

    Args:
        rate: Beats a minute.
        variability: Standard deviation of the intervals over their mean.
        respiration: Breaths a second.
        end: Seconds after the record's start at which to stop.
        rng: Source of randomness.
    """
    mean = 60 / rate
    beats = np.arange(int((end + LEAD_IN) / mean * 1.4) + 4)
    phase = rng.uniform(0, 2 * np.pi, 2)
    breathing = np.sqrt(2) * np.sin(2 * np.pi * respiration * mean * beats + phase[0])
    slow = np.sqrt(2) * np.sin(2 * np.pi * 0.1 * mean * beats + phase[1])
    drift = np.cumsum(rng.normal(0, 0.12, len(beats)))
    swing = 0.75 * breathing + 0.55 * slow + 0.3 * (drift - drift.mean()) + 0.2 * rng.normal(size=len(beats))
    intervals = mean * np.maximum(1 + variability * swing, 0.5)
    return _from_intervals(intervals, end, rng)


def fibrillation_onsets(rate: float, variability: float, end: float, rng: np.random.Generator) -> np.ndarray:
    """QRS onsets of atrial fibrillation: independent gamma intervals above the AV node's refractory period.

    Args:
        rate: Beats a minute.
        variability: Standard deviation of the intervals over their mean.
        end: Seconds after the record's start at which to stop.
        rng: Source of randomness.
    """
    mean, refractory = 60 / rate, 0.55
    shape = ((1 - refractory) / variability) ** 2
    count = int((end + LEAD_IN) / mean * 1.6) + 8
    intervals = mean * (refractory + (1 - refractory) * rng.gamma(shape, 1 / shape, count))
    return _from_intervals(intervals, end, rng)


def conduct(
    atrial: np.ndarray, pr: float, group: int | None, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """QRS onsets that follow the P waves, and which P waves are conducted.

    Args:
        atrial: P wave onsets [P], seconds.
        pr: PR interval, seconds.
        group: Length of a Wenckebach group, whose PR intervals grow until its last P wave is blocked; None without.
        rng: Source of randomness.
    """
    delay = np.full(len(atrial), pr) + rng.normal(0, 0.002, len(atrial))
    conducted = np.ones(len(atrial), bool)
    if group is not None:
        position = (np.arange(len(atrial)) + rng.integers(group)) % group
        delay += 0.09 * np.sqrt(position)  # each step smaller than the last, as Wenckebach described
        conducted = position < group - 1
    return (atrial + delay)[conducted], conducted


def ectopic_beats(onsets: np.ndarray, period: int | None, duration: float, rng: np.random.Generator) -> np.ndarray:
    """Which beats come early from the ventricles: bool [B], never two in a row, at least one inside the record.

    Args:
        onsets: QRS onsets [B], seconds.
        period: Every how many beats (2 is bigeminy, 3 trigeminy); None for isolated ones.
        duration: Length of the record, seconds.
        rng: Source of randomness.
    """
    if period is not None:
        ectopic = (np.arange(len(onsets)) + rng.integers(period)) % period == 1
    else:
        ectopic = rng.random(len(onsets)) < rng.uniform(0.04, 0.2)
        ectopic[1:] &= ~ectopic[:-1]
        certain = np.abs(onsets - rng.uniform(1, duration - 1)).argmin()
        ectopic[certain - 1 : certain + 2] = [False, True, False]
    ectopic[0] = False  # nothing goes before it that it could follow early
    return ectopic


def bring_forward(onsets: np.ndarray, ectopic: np.ndarray, coupling: float) -> np.ndarray:
    """Onsets with the ectopic beats early; the beat after each keeps its time, which makes the compensatory pause."""
    early = onsets.copy()
    before = onsets[np.flatnonzero(ectopic) - 1]
    interval = onsets[ectopic] - before
    early[ectopic] = before + np.minimum(np.maximum(coupling * interval, 0.36), 0.85 * interval)
    return early


def adapted_interval(onsets: np.ndarray) -> np.ndarray:
    """The RR interval that QT follows: mostly the mean, a little the last interval (QT adapts over minutes)."""
    intervals = np.diff(onsets, prepend=2 * onsets[0] - onsets[1])
    return 0.75 * intervals.mean() + 0.25 * intervals


def _from_intervals(intervals: np.ndarray, end: float, rng: np.random.Generator) -> np.ndarray:
    onsets = -LEAD_IN + intervals[0] * rng.random() + np.cumsum(intervals)
    return onsets[onsets < end]
