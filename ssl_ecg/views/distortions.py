"""What happens to ECGs between patient and model: batched, on the device, drawn from torch's global generator.

Unlike an augmentation, a distortion has the same strength for every record: how a score falls with that strength is the
robustness of a model (Mehari & Strodthoff, Comput Biol Med 2022, for noise and rates). What was not recorded stays 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ssl_ecg.records import LEADS
from ssl_ecg.records.electrodes import DERIVATION, ELECTRODES
from ssl_ecg.signals import Signals
from ssl_ecg.signals.normalisation import recorded_mask
from ssl_ecg.views.augment import NOISE, Augment

SWAPS = {
    "arms": ("RA", "LA"),
    "right arm and leg": ("RA", "LL"),
    "left arm and leg": ("LA", "LL"),
    "V1 and V2": ("V1", "V2"),
    "V1 and V6": ("V1", "V6"),
}
"""Electrodes that are exchanged."""


class Distortion(NamedTuple):
    """One kind of distortion.

    Attributes:
        unit: of its levels.
        levels: from the mildest on.
        apply: signals, level, Hz and lead names to distorted signals.
        least_rate: Hz, above which it can be shown.
    """

    unit: str
    levels: tuple[float | str, ...]
    apply: Callable[[Signals, float | str, float, Sequence[str]], Signals]
    least_rate: float = 0.0


def add_noise(kind: str, signals: Signals, decibels: float, sampling_rate: float, leads: Sequence[str]) -> Signals:
    """Add noise of a kind, drawn at the electrodes, at a signal-to-noise ratio that is that of each record.

    Both powers are mean squares about the mean of each lead, over all leads and samples that were recorded.

    Args:
        kind: of ``ssl_ecg.views.augment.NOISE``.
        signals: signal [B, L, T] in any unit.
        decibels: 10 log10 of the ratio of the powers.
        sampling_rate: Hz.
        leads: names of the L leads.
    """
    signal, recorded, present = signals
    real = recorded_mask(signal, recorded, present)
    noise = Augment({kind: 0.9}, sampling_rate, leads)(torch.zeros_like(signal), recorded, present)
    ratio = (_power(signal, real) / _power(noise, real).clamp(min=1e-20)).sqrt()
    return signals._replace(signal=signal + noise * ratio * 10 ** (-decibels / 20))


def _power(signal: Tensor, real: Tensor) -> Tensor:
    real = real.expand_as(signal)
    count = real.sum(2, keepdim=True).clamp(min=1)
    centred = (signal - (signal * real).sum(2, keepdim=True) / count) * real
    return centred.square().sum((1, 2), keepdim=True) / real.sum((1, 2), keepdim=True).clamp(min=1)


def lose_leads(signals: Signals, count: int) -> Signals:
    """Have ``count`` leads of each record, at random, not recorded; one of those that were stays."""
    draw = torch.rand(signals.leads.shape, device=signals.leads.device).masked_fill(~signals.leads, 2.0)
    kept = (signals.leads.sum(1, keepdim=True) - count).clamp(min=1)
    present = signals.leads & (draw.argsort(1).argsort(1) < kept)
    return Signals(signals.signal * present[..., None], signals.recorded, present)


def swap_electrodes(signals: Signals, swap: str, leads: Sequence[str]) -> Signals:
    """Exchange two electrodes of ``SWAPS``; a record needs all twelve leads to show it, others stay as they are.

    The electrodes' potentials follow from the leads but for a constant, which no lead sees.
    """
    first, second = (ELECTRODES.index(name) for name in SWAPS[swap])
    wire = list(range(len(ELECTRODES)))
    wire[first], wire[second] = second, first
    mixed = DERIVATION[:, wire] @ np.linalg.pinv(DERIVATION)
    places = [LEADS.index(lead) for lead in leads]
    matrix = torch.tensor(mixed[np.ix_(places, places)], dtype=signals.signal.dtype, device=signals.signal.device)
    whole = signals.leads.all(1)[:, None, None]
    return signals._replace(signal=torch.where(whole, matrix @ signals.signal, signals.signal))


def record_at(signals: Signals, hertz: float, sampling_rate: float) -> Signals:
    """Leave of signals what a recorder of ``hertz`` samples a second would have: nothing from half of that on."""
    signal = signals.signal
    spectrum = torch.fft.rfft(signal)
    frequency = torch.fft.rfftfreq(signal.shape[-1], 1 / sampling_rate, device=signal.device)
    limited = torch.fft.irfft(spectrum * (frequency < hertz / 2), n=signal.shape[-1])
    return signals._replace(signal=limited * recorded_mask(signal, signals.recorded, signals.leads))


def _noise(kind: str) -> Distortion:
    lowest = {"mains": 100.0, "muscle_noise": 40.0}.get(kind, 0.0)
    return Distortion(
        "dB signal to noise",
        (24.0, 12.0, 6.0, 0.0, -6.0),
        lambda signals, level, rate, leads: add_noise(kind, signals, float(level), rate, leads),
        lowest,
    )


DISTORTIONS: dict[str, Distortion] = {
    **{kind: _noise(kind) for kind in sorted(NOISE)},
    "missing_leads": Distortion(
        "leads missing", (1.0, 3.0, 6.0, 9.0, 11.0), lambda s, level, rate, leads: lose_leads(s, int(level))
    ),
    "swapped_electrodes": Distortion(
        "electrodes", tuple(SWAPS), lambda s, level, rate, leads: swap_electrodes(s, str(level), leads)
    ),
    "sampling_rate": Distortion(
        "Hz", (50.0, 25.0, 12.5), lambda s, level, rate, leads: record_at(s, float(level), rate), 50.0
    ),
}


def shows(name: str, sampling_rate: float, leads: Sequence[str]) -> bool:
    """Tell whether a distortion can be shown in such signals."""
    if name == "swapped_electrodes" and set(leads) != set(LEADS):
        return False
    if name in NOISE and not set(leads) <= set(LEADS):
        return False
    least = DISTORTIONS[name].least_rate
    return sampling_rate > least or math.isclose(least, 0.0)
