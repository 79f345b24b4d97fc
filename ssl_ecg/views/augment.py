"""ECG augmentations: batched, on the device, drawn from torch's global generator.

Each maps signal [B, L, T] to the same shape and type; its one number says how strong it is, 0 leaves the signal as it
is. Noise and wander are in the units of the signal, which for z-scored leads is their standard deviation. None changes
the polarity of a lead, which carries diagnostic meaning.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor


def gaussian_noise(signal: Tensor, level: float) -> Tensor:
    """Add white noise; its standard deviation is drawn per record from 0 to ``level``."""
    deviation = level * torch.rand(len(signal), 1, 1, device=signal.device)
    return signal + deviation.to(signal.dtype) * torch.randn_like(signal)


def amplitude_scaling(signal: Tensor, spread: float) -> Tensor:
    """Multiply every lead by a factor of its own, drawn from 1 - spread to 1 + spread; ``spread`` is below 1."""
    factor = 1 + spread * (2 * torch.rand(*signal.shape[:2], 1, device=signal.device) - 1)
    return signal * factor.to(signal.dtype)


def baseline_wander(signal: Tensor, level: float, sampling_rate: float) -> Tensor:
    """Add a slow sine (0.05 to 0.5 Hz, respiration and motion) of amplitude up to ``level`` to every lead."""
    batch, leads, samples = signal.shape
    time = torch.arange(samples, device=signal.device) / sampling_rate
    frequency = 0.05 + 0.45 * torch.rand(batch, 1, 1, device=signal.device)
    phase = 2 * math.pi * torch.rand(batch, 1, 1, device=signal.device)
    amplitude = level * torch.rand(batch, leads, 1, device=signal.device)
    wander = amplitude * torch.sin(2 * math.pi * frequency * time + phase)
    return signal + wander.to(signal.dtype)


def time_masking(signal: Tensor, share: float) -> Tensor:
    """Set one window of all leads to 0; its length is ``share`` of the signal, its place random per record."""
    samples = signal.shape[-1]
    length = round(share * samples)
    start = torch.randint(samples - length + 1, (len(signal), 1, 1), device=signal.device)
    time = torch.arange(samples, device=signal.device)
    return signal.masked_fill((time >= start) & (time < start + length), 0.0)


def lead_masking(signal: Tensor, probability: float) -> Tensor:
    """Set each lead to 0 with ``probability``; at least one lead stays (random lead masking, Oh et al., CHIL 2022)."""
    draw = torch.rand(*signal.shape[:2], device=signal.device)
    # The lead with the largest draw always stays: uniform over leads, and no loop over records.
    keep = (draw >= probability) | (draw == draw.amax(1, keepdim=True))
    return signal * keep[..., None]


# In the order in which they are applied: masks come last, so that masked stretches are exactly 0.
AUGMENTATIONS: dict[str, Callable[..., Tensor]] = {
    "amplitude_scaling": amplitude_scaling,
    "baseline_wander": baseline_wander,
    "gaussian_noise": gaussian_noise,
    "time_masking": time_masking,
    "lead_masking": lead_masking,
}
_NEED_RATE = {"baseline_wander"}


class Augment:
    """A chain of augmentations chosen by name.

    Args:
        strengths: augmentation name to strength; a name left out, or a strength of 0, is off.
        sampling_rate: Hz of the signals.

    Raises:
        ValueError: an unknown name, or a strength outside [0, 1).

    Example:
        >>> augment = Augment({"lead_masking": 0.5, "gaussian_noise": 0.05}, sampling_rate=100)
        >>> augment(torch.zeros(2, 12, 1000)).shape
        torch.Size([2, 12, 1000])
    """

    def __init__(self, strengths: Mapping[str, float], sampling_rate: float) -> None:
        for name, strength in strengths.items():
            if name not in AUGMENTATIONS:
                raise ValueError(f"augment={name!r}: unknown; choose from {', '.join(AUGMENTATIONS)}")
            if not 0 <= strength < 1:
                raise ValueError(f"augment.{name}={strength}: must be at least 0 and below 1")
        self.strengths = {name: float(strengths[name]) for name in AUGMENTATIONS if strengths.get(name)}
        self.sampling_rate = sampling_rate

    def __call__(self, signal: Tensor) -> Tensor:
        """Return an augmented copy of signal [B, L, T]; the input is not changed."""
        for name, strength in self.strengths.items():
            rate = {"sampling_rate": self.sampling_rate} if name in _NEED_RATE else {}
            signal = AUGMENTATIONS[name](signal, strength, **rate)
        return signal
