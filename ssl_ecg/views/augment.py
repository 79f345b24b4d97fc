"""ECG augmentations: batched, on the device, drawn from torch's global generator.

Each maps signal [B, L, T] to the same shape and type; its one number says how strong it is, 0 leaves the signal as it
is. None changes the polarity of a lead, which carries diagnostic meaning. Gains and masks are here; noise, and changes
of time and space, have modules of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ssl_ecg.records import LEADS, canonical_lead
from ssl_ecg.records.electrodes import DERIVATION
from ssl_ecg.signals.normalisation import recorded_mask
from ssl_ecg.views.geometry import crop_and_resize, dower_matrices, time_warp, vcg_rotation
from ssl_ecg.views.noise import (
    MAINS,
    MUSCLE_BAND,
    baseline_wander,
    electrode_motion,
    gaussian_noise,
    mains,
    muscle_noise,
    pink_noise,
)
from ssl_ecg.views.segments import random_start

LIMB_LEADS = frozenset(LEADS[:6])


def respiratory_modulation(signal: Tensor, depth: float, sampling_rate: float) -> Tensor:
    """Let the amplitude of all leads swell and fade with breath, 0.15 to 0.4 Hz, by up to ``depth``, below 1.

    Breathing moves heart and electrodes (Moody et al., Comput Cardiol 1985); the depth is drawn per record.
    """
    batch, _, samples = signal.shape
    time = torch.arange(samples, device=signal.device) / sampling_rate
    frequency = 0.15 + 0.25 * torch.rand(batch, 1, 1, device=signal.device)
    phase = 2 * math.pi * torch.rand(batch, 1, 1, device=signal.device)
    swing = depth * torch.rand(batch, 1, 1, device=signal.device)
    return signal * (1 + swing * torch.sin(2 * math.pi * frequency * time + phase)).to(signal.dtype)


def amplitude_scaling(signal: Tensor, spread: float, leads: Sequence[str] | None = None) -> Tensor:
    """Multiply leads by factors drawn from 1 - spread to 1 + spread; ``spread`` is below 1.

    Every chest lead has a factor of its own, and all limb leads, which are sums of one another, have one together;
    where the names of the leads are not known (None), every lead has its own.
    """
    factor = 1 + spread * (2 * torch.rand(*signal.shape[:2], 1, device=signal.device) - 1)
    if leads is not None and (limb := [place for place, name in enumerate(leads) if name in LIMB_LEADS]):
        factor[:, limb] = factor[:, limb[:1]]
    return signal * factor.to(signal.dtype)


def time_masking(signal: Tensor, share: float, recorded: Tensor | None = None) -> Tensor:
    """Set one window of all leads to 0; its length is ``share`` of what was recorded, its place random per record."""
    batch, _, samples = signal.shape
    if recorded is None:
        recorded = torch.full((batch,), samples, device=signal.device)
    length = (share * recorded).round().long()
    start = random_start(recorded - length)
    time = torch.arange(samples, device=signal.device)
    hidden = (time >= start[:, None]) & (time < (start + length)[:, None])
    return signal.masked_fill(hidden[:, None], 0.0)


def lead_masking(signal: Tensor, probability: float, present: Tensor | None = None) -> Tensor:
    """Set each lead to 0 with ``probability`` (random lead masking, Oh et al., CHIL 2022).

    At least one lead stays, of those that were recorded, ``present`` bool [B, L] (None: all).
    """
    draw = torch.rand(*signal.shape[:2], device=signal.device)
    # The lead with the largest draw always stays: uniform over leads, and no loop over records.
    rank = draw if present is None else draw.masked_fill(~present, -1.0)
    keep = (draw >= probability) | (rank == rank.amax(1, keepdim=True))
    return signal * keep[..., None]


# In the order in which they are applied, from the heart to the recorder: masks come last, so that masked stretches are
# exactly 0.
AUGMENTATIONS: dict[str, Callable[..., Tensor]] = {
    "crop_and_resize": crop_and_resize,
    "time_warp": time_warp,
    "vcg_rotation": vcg_rotation,
    "respiratory_modulation": respiratory_modulation,
    "amplitude_scaling": amplitude_scaling,
    "baseline_wander": baseline_wander,
    "pink_noise": pink_noise,
    "muscle_noise": muscle_noise,
    "electrode_motion": electrode_motion,
    "mains": mains,
    "gaussian_noise": gaussian_noise,
    "time_masking": time_masking,
    "lead_masking": lead_masking,
}
NOISE = frozenset({"baseline_wander", "pink_noise", "muscle_noise", "electrode_motion", "mains", "gaussian_noise"})
"""Those that add to the signal; where leads have names they are drawn at the electrodes."""

_NEED_RATE = {
    "time_warp",
    "respiratory_modulation",
    "baseline_wander",
    "muscle_noise",
    "electrode_motion",
    "mains",
}
_NEED_RECORDED = {"crop_and_resize", "time_warp", "time_masking"}
_NEED_PRESENT = {"vcg_rotation", "lead_masking"}
_NEED_LEADS = {"vcg_rotation", "amplitude_scaling"}
# Hz of the lowest component; half the sampling rate must lie above it.
_LOWEST = {"mains": min(MAINS), "muscle_noise": MUSCLE_BAND[0]}


class Augment:
    """A chain of augmentations chosen by name.

    With ``leads``, limb leads are scaled alike, and noise is drawn at the nine electrodes and reaches each lead by the
    lead's definition: III = II - I holds for both, and a moved arm electrode shows in the chest leads too, through
    Wilson's terminal. Without, every lead has a factor and noise of its own. What was not recorded stays 0. A lead that
    is masked is still one that was recorded.

    Args:
        strengths: augmentation name to strength; a name left out, or a strength of 0, is off.
        sampling_rate: Hz of the signals.
        leads: names of the leads, or None where they are not known; vcg_rotation needs them.

    Raises:
        ValueError: an unknown name or lead, a strength outside [0, 1), or an augmentation that these leads or this
            sampling rate do not allow.

    Example:
        >>> augment = Augment({"lead_masking": 0.5, "gaussian_noise": 0.05}, sampling_rate=100)
        >>> augment(torch.zeros(2, 12, 1000)).shape
        torch.Size([2, 12, 1000])
    """

    def __init__(
        self, strengths: Mapping[str, float], sampling_rate: float, leads: Sequence[str] | None = None
    ) -> None:
        for name, strength in strengths.items():
            if name not in AUGMENTATIONS:
                raise ValueError(f"augment={name!r}: unknown; choose from {', '.join(AUGMENTATIONS)}")
            if not 0 <= strength < 1:
                raise ValueError(f"augment.{name}={strength}: must be at least 0 and below 1")
            if strength and sampling_rate <= 2 * _LOWEST.get(name, 0.0):
                raise ValueError(
                    f"augment.{name}={strength}: a signal of {sampling_rate:g} Hz holds nothing at "
                    f"{_LOWEST[name]:g} Hz; leave it out, or choose a sampling rate above {2 * _LOWEST[name]:g} Hz"
                )
        self.strengths = {name: float(strengths[name]) for name in AUGMENTATIONS if strengths.get(name)}
        self.sampling_rate = sampling_rate
        self.leads = None if leads is None else tuple(canonical_lead(lead) for lead in leads)
        if "vcg_rotation" in self.strengths:
            dower_matrices(self.leads or ())

    def __call__(self, signal: Tensor, recorded: Tensor | None = None, leads: Tensor | None = None) -> Tensor:
        """Return an augmented copy of a signal; the input is not changed.

        Args:
            signal: [B, L, T].
            recorded: int64 [B], samples of each record that were recorded; None: all T.
            leads: bool [B, L], leads of each record that were recorded; None: all L.

        Raises:
            ValueError: the signal has another number of leads than there are names.
        """
        if self.leads is not None and signal.shape[1] != len(self.leads):
            raise ValueError(f"signal has {signal.shape[1]} leads, augmentations were made for {len(self.leads)}")
        # Products of matrices would otherwise be rounded to the autocast type, and the signal with them.
        with torch.autocast(signal.device.type, enabled=False):
            real = recorded_mask(signal, recorded, leads)
            for name, strength in self.strengths.items():
                signal = self._apply(name, signal, strength, recorded, leads) * real
        return signal

    def _apply(
        self, name: str, signal: Tensor, strength: float, recorded: Tensor | None, present: Tensor | None
    ) -> Tensor:
        needs: dict[str, Any] = {}
        if name in _NEED_RATE:
            needs["sampling_rate"] = self.sampling_rate
        if name in _NEED_RECORDED:
            needs["recorded"] = recorded
        if name in _NEED_PRESENT:
            needs["present"] = present
        if name in _NEED_LEADS:
            needs["leads"] = self.leads
        if name not in NOISE or self.leads is None:
            return AUGMENTATIONS[name](signal, strength, **needs)
        rows = DERIVATION[[LEADS.index(lead) for lead in self.leads]]
        derivation = torch.tensor(rows, dtype=torch.float32, device=signal.device)
        silence = torch.zeros(len(signal), derivation.shape[1], signal.shape[-1], device=signal.device)
        noise = derivation @ AUGMENTATIONS[name](silence, strength, **needs)  # [L, 9] @ [B, 9, T]
        return signal + noise.to(signal.dtype)
