"""What every record passes through, whoever read it: ends that are no ECG are cut, and short gaps filled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ssl_ecg.records.record import Record

MAX_GAP = 0.1  # seconds; a QRS complex lasts as long

_PADDING = 0.05  # seconds of exact zeros, or nothing, in all leads at an end
_STILL = 0.5  # seconds in which no lead moves at all, at whatever value
_PULSE = (0.1, 3.0)  # seconds of a calibration pulse with what surrounds it
_LEVEL = 0.04  # seconds that each of the two levels of a pulse lasts at least


def without_ends(record: Record, at_begin: bool = True, at_end: bool = True) -> Record:
    """Cut calibration pulses and padding at both ends; each is a finding.

    A calibration pulse is a square wave that is the same in all of three leads or more, as electrocardiographs append
    it. Padding is what holds zeros or nothing in all leads at once. A record that is nothing else is kept as it is.

    Args:
        record: a recording, or a part of one.
        at_begin: whether it begins where the recording does.
        at_end: whether it ends where the recording does.
    """
    begin, end = 0, record.signal.shape[1]
    findings = []
    if at_end and (cut := _pulse(record.signal[:, ::-1], record.sampling_rate)):
        end -= cut
        findings.append(f"calibration pulse cut: {cut / record.sampling_rate:.2f} s at the end")
    if at_begin and (cut := _pulse(record.signal[:, begin:end], record.sampling_rate)):
        begin += cut
        findings.append(f"calibration pulse cut: {cut / record.sampling_rate:.2f} s at the begin")
    first, last = _padding(record.signal[:, begin:end], record.sampling_rate)
    first, last = first * at_begin, last * at_end
    if first + last:
        begin, end = begin + first, end - last
        cuts = [(cut, of) for cut, of in ((first, "begin"), (last, "end")) if cut]
        findings += [f"padding trimmed: {cut / record.sampling_rate:.2f} s at the {of}" for cut, of in cuts]
    return replace(record.part(begin, end), findings=(*record.findings, *findings)) if findings else record


def without_gaps(record: Record, longest: float = MAX_GAP) -> Record:
    """Fill short gaps by linear interpolation and leave out leads that have longer ones; both are findings.

    Args:
        record: NaN where nothing was recorded.
        longest: seconds of a gap that is filled.
    """
    missing = np.isnan(record.signal)
    if not missing.any():
        return record
    signal = record.signal.copy()
    kept, filled, dropped = [], [], []
    time = np.arange(signal.shape[1])
    for row, (lead, gone) in enumerate(zip(record.leads, missing, strict=True)):
        gap = _longest_run(gone) / record.sampling_rate
        if gap > longest + 1e-9:
            dropped.append(f"{lead} {gap:.2f} s")
            continue
        kept.append(row)
        if gap:
            signal[row, gone] = np.interp(time[gone], time[~gone], signal[row, ~gone])
            filled.append(f"{lead} {gone.sum()} samples")
    findings = list(record.findings)
    findings += [f"gap filled: {', '.join(filled)}"] if filled else []
    findings += [f"gap: {', '.join(dropped)}"] if dropped else []
    return replace(
        record, signal=signal[kept], leads=tuple(record.leads[row] for row in kept), findings=tuple(findings)
    )


def clean(record: Record) -> Record:
    """Cut the ends of a record and fill its gaps."""
    return without_gaps(without_ends(record))


def _pulse(signal: NDArray[np.float32], rate: float) -> int:
    """Return how many samples at the begin of a signal [L, T] are a calibration pulse and what surrounds it."""
    if len(signal) < 3:
        return 0
    begin = signal[:, : round(_PULSE[1] * rate) + 1]
    spread = np.ptp(begin, axis=0)
    for tolerance in (1e-3, 0.05):  # millivolts; as drawn by the recorder, then with noise
        apart = np.flatnonzero(~(spread <= tolerance))
        count = int(apart[0]) if apart.size else 0
        if _PULSE[0] * rate <= count < signal.shape[1]:
            wave = begin[:, :count].mean(axis=0)
            low, height = wave.min(), np.ptp(wave)
            levels = [(wave <= low + 0.1 * height).sum(), (wave >= low + 0.9 * height).sum()]
            if height > 3 * tolerance and min(levels) >= _LEVEL * rate and sum(levels) >= 0.8 * count:
                return count
    return 0


def _padding(signal: NDArray[np.float32], rate: float) -> tuple[int, int]:
    """Return how many samples at the begin and at the end of a signal [L, T] are padding."""
    nothing = (signal == 0) | np.isnan(signal)
    empty = nothing.all(axis=0)
    still = np.append(((signal[:, 1:] == signal[:, :-1]) | nothing[:, 1:] & nothing[:, :-1]).all(axis=0), False)
    still[1:] |= still[:-1].copy()
    if empty.all() or still.all():
        return 0, 0
    ends = []
    for order in (slice(None), slice(None, None, -1)):
        zeros, constant = int(np.argmin(empty[order])), int(np.argmin(still[order]))
        ends.append(max(zeros if zeros >= _PADDING * rate else 0, constant if constant >= _STILL * rate else 0))
    return (ends[0], ends[1]) if sum(ends) < signal.shape[1] else (0, 0)


def _longest_run(flags: NDArray[np.bool_]) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]])))
    return int((edges[1::2] - edges[::2]).max(initial=0))
