"""Filters, resampling and length of arrays ``[..., samples]`` (NumPy and SciPy, at ingest)."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import Literal

import numpy as np
import scipy  # which imports scipy.signal, a second and 66 MB, only where it is used
from numpy.typing import NDArray

from ssl_ecg.signals.settings import SignalSettings

Array = NDArray[np.floating]


@lru_cache(maxsize=64)
def _sections(
    order: int, band: tuple[float, float], kind: Literal["bandpass", "bandstop"], sampling_rate: float
) -> tuple[Array, Array]:
    """Return the sections of a filter, and their state [sections, 2] after a constant signal of 1."""
    sections = scipy.signal.butter(order, band, kind, fs=sampling_rate, output="sos")
    return sections, scipy.signal.sosfilt_zi(sections)


@lru_cache(maxsize=64)
def _low_pass(up: int, down: int) -> Array:
    """Return the filter that ``scipy.signal.resample_poly`` designs anew for each signal."""
    return scipy.signal.firwin(20 * max(up, down) + 1, 1 / max(up, down), window=("kaiser", 5.0))


def _zero_phase(signal: Array, sections: Array, state: Array, sampling_rate: float) -> Array:
    """Filter forwards and backwards: ``scipy.signal.sosfiltfilt`` without what it does anew for each signal."""
    samples = signal.shape[-1]
    # A second of odd reflection at both ends keeps the transient of the high-pass out of the signal.
    padding = min(samples - 1, round(sampling_rate))
    first, last = signal[..., :1], signal[..., -1:]
    before, after = signal[..., padding:0:-1], signal[..., samples - 2 :: -1][..., :padding]
    forwards = _filtered(np.concatenate([2 * first - before, signal, 2 * last - after], axis=-1), sections, state)
    # Of the reflection before the signal nothing is kept, so the way back ends at its first sample.
    return _filtered(forwards[..., padding:][..., ::-1], sections, state)[..., ::-1][..., :samples]


def _filtered(signal: Array, sections: Array, state: Array) -> Array:
    each = state.reshape(len(state), *(1,) * (signal.ndim - 1), 2)
    return scipy.signal.sosfilt(sections, signal, axis=-1, zi=each * signal[..., :1])[0]  # type: ignore[arg-type]


def bandpass(signal: Array, sampling_rate: float, band: tuple[float, float] = (0.5, 40.0), order: int = 2) -> Array:
    """Filter with a Butterworth band-pass, forwards and backwards, so that no wave is moved or skewed.

    Args:
        signal: float [..., T], any unit.
        sampling_rate: Samples a second, in Hz.
        band: Lower and upper corner frequency in Hz (-6 dB each, since the filter runs twice).
        order: Order of the Butterworth prototype.

    Returns:
        float64 [..., T].

    Raises:
        ValueError: If the upper corner is not below half the sampling rate.
    """
    if not 0 < band[0] < band[1] < sampling_rate / 2:
        raise ValueError(f"band must lie between 0 and {sampling_rate / 2:g} Hz (half the sampling rate), got {band!r}")
    return _zero_phase(signal, *_sections(order, band, "bandpass", sampling_rate), sampling_rate)


def bandstop(signal: Array, sampling_rate: float, mains: float = 50.0, width: float = 1.0, order: int = 2) -> Array:
    """Stop the mains with a zero-phase Butterworth band-stop of ``mains`` - ``width`` to ``mains`` + ``width`` Hz.

    Args:
        signal: float [..., T], any unit.
        sampling_rate: Samples a second, in Hz.
        mains: Frequency to stop, in Hz. Recordings that cannot hold it are returned as they are.
        width: Half the width of the stopped band, in Hz.
        order: Order of the Butterworth prototype.

    Returns:
        float [..., T].
    """
    if mains + width >= sampling_rate / 2:
        return signal
    band = (mains - width, mains + width)
    return _zero_phase(signal, *_sections(order, band, "bandstop", sampling_rate), sampling_rate)


def resample(signal: Array, from_rate: float, to_rate: float) -> Array:
    """Change the sampling rate with a polyphase anti-aliasing filter.

    Args:
        signal: float [..., T], any unit.
        from_rate: Sampling rate of ``signal`` in Hz.
        to_rate: Wanted sampling rate in Hz.

    Returns:
        float [..., ceil(T x to_rate / from_rate)].

    Raises:
        ValueError: If a rate is not positive.
    """
    if not (from_rate > 0 and to_rate > 0):
        raise ValueError(f"sampling rates must be positive, got from_rate={from_rate!r}, to_rate={to_rate!r}")
    if from_rate == to_rate:
        return signal
    # Rates such as 499.9 Hz stand in real headers; denominators beyond 1000 would make filters of millions of taps.
    ratio = Fraction(to_rate / from_rate).limit_denominator(1000)
    # The ends are continued by a line, not by zeros: an offset must not ring.
    up, down = ratio.numerator, ratio.denominator
    window = _low_pass(up, down).astype(signal.dtype, copy=False)
    # The stubs do not know that a window may be an array.
    return scipy.signal.resample_poly(signal, up, down, axis=-1, window=window, padtype="line")  # type: ignore[call-overload]


def fix_length(signal: Array, samples: int, min_samples: int = 1) -> Array:
    """Keep the first ``samples`` samples, or pad a shorter signal with zeros at its end.

    Args:
        signal: float [..., T], any unit.
        samples: Wanted number of samples.
        min_samples: Signals shorter than this are refused.

    Returns:
        float [..., samples].

    Raises:
        ValueError: If the signal is shorter than ``min_samples``.
    """
    length = signal.shape[-1]
    if length < min_samples:
        raise ValueError(f"signal has {length} samples, at least {min_samples} are needed")
    if length >= samples:
        return signal[..., :samples]
    return np.pad(signal, [(0, 0)] * (signal.ndim - 1) + [(0, samples - length)])


def condition(signal: Array, sampling_rate: float, settings: SignalSettings) -> NDArray[np.float32]:
    """Bring one recording into the form that an archive stores: filtered, resampled, of fixed length.

    Filters run at the recording's own rate, before it is resampled. The archive keeps millivolts: networks normalise.

    Args:
        signal: float [L, T], millivolts, with the leads of ``settings`` in their order.
        sampling_rate: Sampling rate of ``signal`` in Hz.
        settings: What the archive holds.

    Returns:
        float32 [L, ``settings.samples``], millivolts.

    Raises:
        ValueError: If the recording is too short, or its rate too low for the band that ``settings`` ask for.
    """
    seconds = signal.shape[-1] / sampling_rate
    if seconds < settings.min_duration:
        raise ValueError(f"recording lasts {seconds:.2f} s, at least {settings.min_duration:g} s are needed")
    signal = signal.astype(np.float64)
    if settings.mains is not None:
        signal = bandstop(signal, sampling_rate, settings.mains)
    if settings.band is not None:
        signal = bandpass(signal, sampling_rate, settings.band)
    signal = resample(signal, sampling_rate, settings.sampling_rate)
    return fix_length(signal, settings.samples).astype(np.float32)
