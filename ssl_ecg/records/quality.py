"""Which recordings are no ECGs: a few rules that a person can follow, each with a named threshold.

The thresholds were set on the PhysioNet/CinC Challenge 2011 (set-a), where cardiologists called 773 recordings
acceptable and 166 not, and on data sets that were curated by hand, of which nearly nothing may be rejected.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from annotated_types import Gt
from numpy.typing import NDArray

from ssl_ecg.records.record import RecordError
from ssl_ecg.settings import Settings

Positive = Annotated[float, Gt(0)]

# Leads that an electrocardiograph measures; the others are computed, and two of those may well be equal.
_MEASURED = frozenset(("I", "II", "V1", "V2", "V3", "V4", "V5", "V6"))


class QualityLimits(Settings):
    """Thresholds of :func:`check_quality`; a range is the largest minus the smallest value within one second."""

    flat: Positive = 0.02
    """a lead is flat if its range in some second is at most this share of the record's median standard deviation"""
    saturated: Positive = 0.03
    """a lead is saturated if it rests at its largest or smallest value for more than this share of the samples"""
    identical: Positive = 0.9
    """two measured leads are one if they have the same value in more than this share of the samples"""
    pop: Positive = 30.0
    """an electrode popped if the range in some second is more than this many times the lead's median range"""
    max_range: Positive = 15.0
    """largest range in any second, in millivolts (calibrated records only)"""
    max_median_range: Positive = 8.0
    """largest median range of a lead, in millivolts (calibrated records only)"""


def check_quality(
    signal: NDArray[np.floating],
    sampling_rate: float,
    leads: tuple[str, ...],
    calibrated: bool = True,
    limits: QualityLimits | None = None,
) -> None:
    """Accept a recording or say what is wrong with it.

    Args:
        signal: float [L, T], as recorded (not filtered), millivolts or any unit.
        sampling_rate: Samples a second, in Hz.
        leads: Canonical names of the L leads.
        calibrated: Whether ``signal`` is in millivolts; if not, only the rules that need no unit are applied.
        limits: Thresholds, or None for the defaults.

    Raises:
        RecordError: With the first rule that is broken and the leads that break it.
    """
    limits = limits or QualityLimits()
    second = max(1, min(round(sampling_rate), signal.shape[1]))
    if signal.shape[1] == 0:
        raise RecordError("truncated signal", "it has no samples")
    _reject("not a number", ~np.isfinite(signal).all(axis=1), leads)

    seconds = signal.shape[1] // second
    ranges = np.ptp(signal[:, : seconds * second].reshape(len(leads), seconds, second), axis=2)
    median = np.median(ranges, axis=1)
    _reject("flat lead", ranges.min(axis=1) <= limits.flat * np.median(signal.std(axis=1)), leads)
    extremes = [(signal == edge(signal, axis=1, keepdims=True)).mean(axis=1) for edge in (np.max, np.min)]
    _reject("saturated lead", np.maximum(*extremes) > limits.saturated, leads)
    _reject("identical leads", _copies(signal, leads) > limits.identical, leads)
    _reject("electrode artefact", ranges.max(axis=1) > limits.pop * median, leads)
    if calibrated:
        _reject("amplitude", ranges.max(axis=1) > limits.max_range, leads, f"over {limits.max_range:g} mV in a second")
        _reject("amplitude", median > limits.max_median_range, leads, f"over {limits.max_median_range:g} mV all along")


def _copies(signal: NDArray[np.floating], leads: tuple[str, ...]) -> NDArray[np.floating]:
    """For each lead, the largest fraction of samples that equal those of another measured lead, float [L]."""
    measured = [i for i, lead in enumerate(leads) if lead in _MEASURED]
    equal = np.zeros(len(leads))
    for n, i in enumerate(measured):
        for j in measured[:n]:
            same = float((signal[i] == signal[j]).mean())
            equal[i], equal[j] = max(equal[i], same), max(equal[j], same)
    return equal


def _reject(kind: str, broken: NDArray[np.bool_], leads: tuple[str, ...], detail: str = "") -> None:
    if broken.any():
        named = ", ".join(lead for lead, bad in zip(leads, broken, strict=True) if bad)
        raise RecordError(kind, f"{named} {detail}".strip())
