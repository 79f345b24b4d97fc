"""Named numbers of an ECG: its rhythm, and the shape of its average beat.

What a wide-and-deep model sees beside the network (Garcia et al., CinC 2020: twenty rhythm features), and a classical
model alone. R times are those of ``views.find_r_peaks``; intervals are read from the average beat by simple rules,
which are not those of a recorder: good enough to rank by, not to be written into a report.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ssl_ecg.signals import Signals
from ssl_ecg.views import r_peaks

BEFORE, AFTER = 0.30, 0.50  # seconds of the average beat around its R time
P_WINDOW, BASE, QRS_WINDOW, T_WINDOW = (-0.26, -0.08), (-0.30, -0.26), (-0.10, 0.12), (0.16, 0.48)
QRS_SHARE, T_SHARE = 0.15, 0.2  # of the steepest slope, and of the tallest T, that still count
STEP = 0.05  # seconds, of RR for its entropy and of differences that count for pnn50

FEATURES = {
    "heart_rate": "60 / mean RR, beats a minute",
    "rr_mean": "mean RR, seconds",
    "rr_sd": "standard deviation of RR (SDNN), seconds",
    "rr_cv": "rr_sd / rr_mean",
    "rr_min": "shortest RR, seconds",
    "rr_max": "longest RR, seconds",
    "rmssd": "root mean square of differences of successive RR, seconds",
    "pnn50": "share of these differences above 50 ms",
    "rr_entropy": "Shannon entropy of RR in steps of 50 ms, nats",
    "rr_turns": "share of inner RR that are longer or shorter than both neighbours",
    "qrs_width": "where the average beat changes fast around R, seconds",
    "qrs_amplitude": "largest peak-to-peak of a lead's QRS, millivolts",
    "axis": "of the QRS in the frontal plane, degrees",
    "p_amplitude": "largest deflection before QRS of the average beat, millivolts",
    "p_presence": "mean correlation of each beat's P window with the average one's",
    "pr": "from the top of P to the onset of QRS, seconds",
    "qt": "from the onset of QRS to the end of T, seconds",
    "qtc": "qt / sqrt(rr_mean), Bazett",
    "t_amplitude": "T of the lead where it is largest, millivolts, with its sign",
    "beat_spread": "mean correlation of each beat with the average one",
}
"""Name and meaning of each feature."""


def rhythm_features(signal: ArrayLike, sampling_rate: float, leads: Sequence[str]) -> dict[str, float]:
    """Measure one ECG.

    Args:
        signal: float [L, T], millivolts, band-passed, only what was recorded.
        sampling_rate: Hz.
        leads: names of the L leads.

    Returns:
        Every feature of ``FEATURES``; NaN where it is not defined, such as all of RR with fewer than two beats.
    """
    ecg = np.asarray(signal, np.float64)
    peaks = r_peaks(ecg, sampling_rate) if ecg.shape[1] > 1 else np.empty(0, np.int64)
    found = dict.fromkeys(FEATURES, np.nan)
    found |= rr_features(np.diff(peaks) / sampling_rate)
    return found | _beat_features(ecg, peaks, sampling_rate, leads, found["rr_mean"])


def rr_features(rr: ArrayLike) -> dict[str, float]:
    """Describe RR intervals [n] in seconds; nothing where there is none."""
    intervals = np.asarray(rr, np.float64)
    if not len(intervals):
        return {}
    mean, spread = float(intervals.mean()), float(intervals.std())
    found = {"heart_rate": 60 / mean, "rr_mean": mean, "rr_sd": spread, "rr_cv": spread / mean}
    found |= {"rr_min": float(intervals.min()), "rr_max": float(intervals.max())}
    if len(intervals) > 1:
        steps = np.diff(intervals)
        found |= {"rmssd": float(np.sqrt((steps**2).mean())), "pnn50": float((np.abs(steps) > STEP).mean())}
        share = np.unique(np.round(intervals / STEP), return_counts=True)[1] / len(intervals)
        found["rr_entropy"] = float(-(share * np.log(share)).sum())
        if len(steps) > 1:
            found["rr_turns"] = float((steps[1:] * steps[:-1] < 0).mean())
    return found


def _beat_features(
    ecg: NDArray[np.float64], peaks: NDArray[np.int64], rate: float, leads: Sequence[str], rr: float
) -> dict[str, float]:
    """Describe the average of the beats that are recorded whole; nothing where there is none."""
    before, after = round(BEFORE * rate), round(AFTER * rate)
    whole = peaks[(peaks >= before) & (peaks + after < ecg.shape[1])]
    if not len(whole):
        return {}
    beats = np.stack([ecg[:, peak - before : peak + after] for peak in whole])  # [beats, L, samples]
    time = np.arange(-before, after) / rate

    def within(window: tuple[float, float]) -> NDArray[np.bool_]:
        return (time >= window[0]) & (time < window[1])

    beats = beats - np.median(beats[:, :, within(BASE)], axis=2, keepdims=True)
    beat = beats.mean(axis=0)
    slope = np.abs(np.gradient(beat, axis=1)).sum(axis=0) * within(QRS_WINDOW)
    fast = np.flatnonzero(slope > QRS_SHARE * slope.max())
    onset, end = time[fast[0]], time[fast[-1]] + 1 / rate
    qrs, p, t = beat[:, fast[0] : fast[-1] + 1], beat[:, within(P_WINDOW)], beat[:, within(T_WINDOW)]
    found = {"qrs_width": end - onset, "qrs_amplitude": float(np.ptp(qrs, axis=1).max())}
    found["beat_spread"] = _agreement(beats, beat)
    place = np.unravel_index(np.abs(p).argmax(), p.shape)
    found |= {"p_amplitude": float(p[place]), "p_presence": _agreement(beats[:, :, within(P_WINDOW)], p)}
    found["pr"] = onset - time[within(P_WINDOW)][place[1]]
    lead = np.unravel_index(np.abs(t).argmax(), t.shape)[0]
    found["t_amplitude"] = float(t[lead][np.abs(t[lead]).argmax()])
    high = np.flatnonzero(np.abs(t[lead]) > T_SHARE * np.abs(t[lead]).max())
    found["qt"] = time[within(T_WINDOW)][high[-1]] - onset
    found["qtc"] = found["qt"] / np.sqrt(rr)
    if {"I", "aVF"} <= set(leads):
        one, foot = (float(qrs[list(leads).index(name)].sum()) for name in ("I", "aVF"))
        found["axis"] = float(np.degrees(np.arctan2(foot * 2 / np.sqrt(3), one)))
    return found


def _agreement(beats: NDArray[np.float64], beat: NDArray[np.float64]) -> float:
    """Return the mean correlation of beats [beats, L, samples] with the average one [L, samples], over all leads."""
    each, mean = (x - x.mean(axis=-1, keepdims=True) for x in (beats, beat))
    norms = np.sqrt((each**2).sum(axis=(1, 2)) * (mean**2).sum())
    products = (each * mean).sum(axis=(1, 2))
    return float(np.divide(products, norms, out=np.zeros_like(norms), where=norms > 0).mean())


def rhythm_table(signals: Signals, sampling_rate: float, leads: Sequence[str]) -> pd.DataFrame:
    """Measure a batch of ECGs, of each what was recorded: a row each, a column for each of ``FEATURES``.

    Args:
        signals: arrays, in millivolts.
        sampling_rate: Hz.
        leads: names of the L leads.
    """
    rows = []
    for ecg, count, there in zip(*signals, strict=True):
        names = [name for name, known in zip(leads, there, strict=True) if known]
        rows.append(rhythm_features(ecg[there, :count], sampling_rate, names))
    return pd.DataFrame(rows, columns=list(FEATURES), dtype=np.float64)
