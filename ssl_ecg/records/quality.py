"""Which recordings are no ECGs: a few rules that a person can follow, each with a named threshold.

The thresholds were set on the PhysioNet/CinC Challenge 2011 (set-a), where cardiologists called 773 recordings
acceptable and 166 not, and on data sets that were curated by hand, of which nearly nothing may be rejected.

What a rule finds either rejects the record or becomes one of its findings, which the manifest names: ``refuse`` says.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, get_args

import numpy as np
from annotated_types import Ge, Gt
from numpy.typing import NDArray

from ssl_ecg.records.cleaning import MAX_GAP
from ssl_ecg.records.record import Record, RecordError, derive_limb_leads
from ssl_ecg.settings import Settings

Positive = Annotated[float, Gt(0)]
Rejecting = Literal[
    "not a number", "flat lead", "saturated lead", "identical leads", "electrode artefact", "amplitude", "resolution"
]
Telling = Literal["unusual amplitude", "einthoven", "checksum", "gap", "gap filled"]

# What signals have to be multiplied by after mistakes of public data sets: 4,880 and 2,000,000 units a millivolt where
# there are 1,000, 2,000,000 where there are 2,000, 200 where there are 1,000, microvolts for millivolts and back.
_MISTAKES = (4.88, 2000.0, 1000.0, 0.2, 0.001)

# Leads that an electrocardiograph measures; the others are computed, and two of those may well be equal.
_MEASURED = frozenset(("I", "II", "V1", "V2", "V3", "V4", "V5", "V6"))
_LIMB = ("III", "aVR", "aVL", "aVF")


class QualityLimits(Settings):
    """Thresholds of :func:`check_record`; a range is the largest minus the smallest value within one second."""

    refuse: tuple[Rejecting | Telling, ...] = get_args(Rejecting)
    """findings for which a record is rejected; the others are told in the manifest"""

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
    min_median_range: Positive = 0.02
    """smallest median range of the median lead, in millivolts (calibrated records only)"""
    unusual_range: tuple[Positive, Positive] = (0.3, 8.0)
    """the amplitude is unusual if the median range of the median lead is outside, in millivolts"""
    resolution: Annotated[int, Ge(2)] = 50
    """fewest different values of the median lead; what has fewer is no ECG, or stored in too large a unit"""
    einthoven: Positive = 0.2
    """largest difference of a limb lead from what the others make it, as a share of its standard deviation"""
    gap: Annotated[float, Ge(0)] = MAX_GAP
    """seconds without samples that are filled; a lead with more of them at once is left out"""


def check_quality(
    signal: NDArray[np.floating],
    sampling_rate: float,
    leads: tuple[str, ...],
    calibrated: bool = True,
    limits: QualityLimits | None = None,
) -> tuple[str, ...]:
    """Accept a recording or say what is wrong with it.

    Args:
        signal: float [L, T], as recorded (not filtered), millivolts or any unit.
        sampling_rate: Samples a second, in Hz.
        leads: Canonical names of the L leads.
        calibrated: Whether ``signal`` is in millivolts; if not, only the rules that need no unit are applied.
        limits: Thresholds, or None for the defaults.

    Returns:
        What was found and is no reason to reject it, such as ``"unusual amplitude: ..."``.

    Raises:
        RecordError: With the first rule that is broken and the leads that break it.
    """
    limits = limits or QualityLimits()
    if signal.shape[1] == 0:
        raise RecordError("truncated signal", "it has no samples")
    return _judged(_found(signal, sampling_rate, leads, calibrated, limits), limits)


def check_record(
    record: Record, leads: tuple[str, ...], limits: QualityLimits | None = None
) -> tuple[tuple[str, ...], float | None]:
    """Check the leads of a record that are wanted, and what its recorded limb leads say of each other.

    Args:
        record: as recorded (not filtered), without gaps.
        leads: those that are wanted.
        limits: Thresholds, or None for the defaults.

    Returns:
        The findings, those of the record first, and :func:`limb_lead_residual`.

    Raises:
        RecordError: With the first reason to reject it.
    """
    limits = limits or QualityLimits()
    told = [(kind, detail) for kind, _, detail in (finding.partition(": ") for finding in record.findings)]
    signal = record.select(leads)
    found = _judged(iter(told), limits)
    found += check_quality(signal, record.sampling_rate, leads, record.calibrated, limits)
    residual = limb_lead_residual(record)
    if residual is not None and residual > limits.einthoven:
        law = [("einthoven", f"a limb lead differs from the others by {residual:.2f} of its standard deviation")]
        found += _judged(iter(law), limits)
    return found, residual


def limb_lead_residual(record: Record) -> float | None:
    """Return by how much limb leads disagree with Einthoven's law and Goldberger's definitions.

    Of each recorded lead that I and II give, the standard deviation of the difference is divided by that of the lead
    (by a quarter of the limb leads' median one where that is more); the largest counts. Leads that were exchanged,
    scaled or inverted one by one have .3 to 3, true ones the rounding of their storage, .00 to .05.

    Returns:
        None for uncalibrated records, whose leads may have units of their own, and where nothing can be compared.
    """
    if not (record.calibrated and {"I", "II"} < set(record.leads)):
        return None
    recorded = [lead for lead in record.leads if lead in _LIMB]
    two = [record.leads.index(lead) for lead in ("I", "II")]
    derived, names = derive_limb_leads(record.signal[two], ("I", "II"))
    scale = record.signal[[record.leads.index(lead) for lead in (*recorded, "I", "II")]].std(axis=1)
    floor = 0.25 * float(np.median(scale))
    if not recorded or not 0 < floor < np.inf:
        return None
    differences = [(record.signal[record.leads.index(lead)] - derived[names.index(lead)]).std() for lead in recorded]
    return float(np.max(np.array(differences) / np.maximum(scale[: len(recorded)], floor)))


def _judged(found: Iterator[tuple[str, str]], limits: QualityLimits) -> tuple[str, ...]:
    told = []
    for kind, detail in found:
        if kind in limits.refuse:
            raise RecordError(kind, detail)
        told.append(f"{kind}: {detail}" if detail else kind)
    return tuple(told)


def _found(
    signal: NDArray[np.floating], sampling_rate: float, leads: tuple[str, ...], calibrated: bool, limits: QualityLimits
) -> Iterator[tuple[str, str]]:
    """Yield the name of each rule that is broken, and the leads that break it."""
    yield from _named("not a number", ~np.isfinite(signal).all(axis=1), leads)
    scores = lead_scores(signal, sampling_rate, leads)
    yield from _named("flat lead", scores["flat"] <= limits.flat, leads)
    yield from _named("saturated lead", scores["saturated"] > limits.saturated, leads)
    yield from _named("identical leads", scores["identical"] > limits.identical, leads)
    yield from _named("electrode artefact", scores["pop"] > limits.pop, leads)
    if (levels := _levels(signal, limits.resolution)) < limits.resolution:
        yield "resolution", f"the median lead has {levels:g} different values, {limits.resolution} are needed"
    if not calibrated:
        return
    most, typical = limits.max_range, limits.max_median_range
    yield from _named("amplitude", scores["max_range"] > most, leads, f"over {most:g} mV in a second")
    yield from _named("amplitude", scores["max_median_range"] > typical, leads, f"over {typical:g} mV all along")
    typical = float(np.median(scores["max_median_range"]))
    low, high = limits.unusual_range
    if not low <= typical <= high:
        kind = "amplitude" if typical < limits.min_median_range else "unusual amplitude"
        yield kind, f"the median range of the leads is {typical:.2g} mV, {_advice(typical, low, high)}"


def lead_scores(
    signal: NDArray[np.floating], sampling_rate: float, leads: tuple[str, ...]
) -> dict[str, NDArray[np.floating]]:
    """Return what each lead is judged by, float [L], by the name of its threshold in :class:`QualityLimits`.

    Args:
        signal: float [L, T], as recorded, all finite.
        sampling_rate: in Hz.
        leads: canonical names of the L leads.
    """
    second = max(1, min(round(sampling_rate), signal.shape[1]))
    seconds = signal.shape[1] // second
    ranges = np.ptp(signal[:, : seconds * second].reshape(len(leads), seconds, second), axis=2)
    median, largest = np.median(ranges, axis=1), ranges.max(axis=1)
    # Counting truths is several times as fast as their mean.
    extremes = [np.count_nonzero(signal == edge(signal, axis=1, keepdims=True), axis=1) for edge in (np.max, np.min)]
    tiny = np.finfo(np.float32).tiny
    return {
        "flat": ranges.min(axis=1) / max(float(np.median(signal.std(axis=1))), tiny),
        "saturated": np.maximum(*extremes) / signal.shape[1],
        "identical": _copies(signal, leads),
        "pop": largest.astype(np.float64) / np.maximum(median, tiny),
        "max_range": largest,
        "max_median_range": median,
    }


def _advice(typical: float, low: float, high: float) -> str:
    factor = min(_MISTAKES, key=lambda factor: abs(np.log(max(typical, 1e-9) * factor)))
    if low <= typical * factor <= high:
        return f"gain={factor:g} would make it {typical * factor:.2g} mV"
    return "no known mistake explains it"


def _levels(signal: NDArray[np.floating], enough: int) -> float:
    """Return the number of different values of the median lead; once it is enough, no more are counted."""
    few = _different(signal[:, :: max(1, signal.shape[1] // (10 * enough))])
    return few if few >= enough else _different(signal)


def _different(signal: NDArray[np.floating]) -> float:
    ordered = np.sort(signal, axis=1)
    return 1 + float(np.median(np.count_nonzero(ordered[:, 1:] > ordered[:, :-1], axis=1)))


def _copies(signal: NDArray[np.floating], leads: tuple[str, ...]) -> NDArray[np.floating]:
    """For each lead, the largest fraction of samples that equal those of another measured lead, float [L]."""
    measured = [i for i, lead in enumerate(leads) if lead in _MEASURED]
    equal = np.zeros(len(leads))
    for n, i in enumerate(measured):
        for j in measured[:n]:
            same = np.count_nonzero(signal[i] == signal[j]) / signal.shape[1]
            equal[i], equal[j] = max(equal[i], same), max(equal[j], same)
    return equal


def _named(kind: str, broken: NDArray[np.bool_], leads: tuple[str, ...], detail: str = "") -> Iterator[tuple[str, str]]:
    if broken.any():
        named = ", ".join(lead for lead, bad in zip(leads, broken, strict=True) if bad)
        yield kind, f"{named} {detail}".strip()
