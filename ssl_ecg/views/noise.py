"""Noise that adds to an ECG: batched, on the device, drawn from torch's global generator.

Each maps signal [B, L, T] to the same shape and type; its level is in the units of the signal, which for z-scored leads
is their standard deviation. A row may also be an electrode: ``Augment`` draws noise there where leads have names. Most
kinds are those by which Moody, Muldrow and Mark (noise stress test, Comput Cardiol 1984) and Friesen et al. (IEEE Trans
Biomed Eng 1990) try detectors.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

MUSCLE_BAND = (20.0, 150.0)
"""Hz; below 20 Hz skin and motion dominate (De Luca et al., J Biomech 2010)."""
MAINS = (50.0, 60.0)
"""Hz."""
MAINS_HARMONICS = 3


def gaussian_noise(signal: Tensor, level: float) -> Tensor:
    """Add white noise; its standard deviation is drawn per record from 0 to ``level``."""
    deviation = level * torch.rand(len(signal), 1, 1, device=signal.device)
    return signal + deviation.to(signal.dtype) * torch.randn_like(signal)


def pink_noise(signal: Tensor, level: float) -> Tensor:
    """Add noise of power 1/f, as skin and electrode make it (Huigen et al., Med Biol Eng Comput 2002).

    Its standard deviation is drawn per record from 0 to ``level``; its mean is 0.
    """
    cycles = torch.arange(signal.shape[-1] // 2 + 1, device=signal.device)
    density = torch.where(cycles > 0, cycles.clamp(min=1).rsqrt(), 0.0)
    deviation = level * torch.rand(len(signal), 1, 1, device=signal.device)
    return signal + (deviation * _shaped(density, signal)).to(signal.dtype)


def baseline_wander(signal: Tensor, level: float, sampling_rate: float) -> Tensor:
    """Add a slow sine (0.05 to 0.5 Hz, respiration and motion) of amplitude up to ``level`` to every lead."""
    batch, leads, samples = signal.shape
    time = torch.arange(samples, device=signal.device) / sampling_rate
    frequency = 0.05 + 0.45 * torch.rand(batch, 1, 1, device=signal.device)
    phase = 2 * math.pi * torch.rand(batch, 1, 1, device=signal.device)
    amplitude = level * torch.rand(batch, leads, 1, device=signal.device)
    wander = amplitude * torch.sin(2 * math.pi * frequency * time + phase)
    return signal + wander.to(signal.dtype)


def muscle_noise(signal: Tensor, level: float, sampling_rate: float) -> Tensor:
    """Add a burst of muscle activity: white between 20 and 150 Hz, swelling and fading as a Gaussian of time.

    Its place and length (0.2 to 2 s standard deviation) are drawn per record, its standard deviation at the peak per
    row from 0 to ``level``. The sampling rate must be above 40 Hz.
    """
    batch, leads, samples = signal.shape
    frequency = torch.fft.rfftfreq(samples, 1 / sampling_rate, device=signal.device)
    density = ((frequency >= MUSCLE_BAND[0]) & (frequency <= MUSCLE_BAND[1])).float()
    time = torch.arange(samples, device=signal.device) / sampling_rate
    centre = samples / sampling_rate * torch.rand(batch, 1, 1, device=signal.device)
    length = 0.2 + 1.8 * torch.rand(batch, 1, 1, device=signal.device)
    deviation = level * torch.rand(batch, leads, 1, device=signal.device)
    burst = torch.exp(-0.5 * ((time - centre) / length) ** 2) * deviation
    return signal + (burst * _shaped(density, signal)).to(signal.dtype)


def electrode_motion(signal: Tensor, level: float, sampling_rate: float) -> Tensor:
    """Add to every row a jump that fades exponentially, as an electrode that was moved recovers.

    Its time, its height from -level to level and its time constant, 0.2 to 3 s (the slowest that a high-pass of 0.05 Hz
    leaves), are drawn per row.
    """
    batch, leads, samples = signal.shape
    time = torch.arange(samples, device=signal.device) / sampling_rate
    start = samples / sampling_rate * torch.rand(batch, leads, 1, device=signal.device)
    height = level * (2 * torch.rand(batch, leads, 1, device=signal.device) - 1)
    constant = 0.2 + 2.8 * torch.rand(batch, leads, 1, device=signal.device)
    since = time - start
    motion = height * torch.exp(-since.clamp(min=0) / constant) * (since >= 0)
    return signal + motion.to(signal.dtype)


def mains(signal: Tensor, level: float, sampling_rate: float) -> Tensor:
    """Add mains hum with weaker second and third harmonics.

    A record's hum is of 50 or 60 Hz, whichever lie below half the sampling rate, with phases of its own; its amplitude
    is drawn per row from 0 to ``level``. Harmonics are there where they lie below half the sampling rate, which itself
    must be above 100 Hz: at 100 Hz a recorder's anti-alias filter leaves no hum.
    """
    batch, leads, samples = signal.shape
    below = torch.tensor([hertz for hertz in MAINS if 2 * hertz < sampling_rate], device=signal.device)
    fundamental = below[torch.randint(len(below), (batch, 1, 1), device=signal.device)]
    harmonic = torch.arange(1, MAINS_HARMONICS + 1, device=signal.device)[:, None]
    frequency = harmonic * fundamental  # [B, harmonics, 1]
    weight = torch.rand(batch, MAINS_HARMONICS, 1, device=signal.device) / harmonic
    weight = torch.where(harmonic == 1, 1.0, weight) * (2 * frequency < sampling_rate)
    phase = 2 * math.pi * torch.rand(batch, MAINS_HARMONICS, 1, device=signal.device)
    time = torch.arange(samples, device=signal.device) / sampling_rate
    hum = (weight * torch.sin(2 * math.pi * frequency * time + phase)).sum(1, keepdim=True)
    amplitude = level * torch.rand(batch, leads, 1, device=signal.device)
    return signal + (amplitude * hum).to(signal.dtype)


def _shaped(density: Tensor, signal: Tensor) -> Tensor:
    """Draw Gaussian noise [B, L, T] of unit variance whose spectrum follows the amplitudes ``density`` [T // 2 + 1]."""
    batch, leads, samples = signal.shape
    spectrum = torch.randn(batch, leads, len(density), dtype=torch.complex64, device=signal.device)
    # Of frequency 0 and half the sampling rate only the real part counts; the others count twice, as conjugate pairs.
    share = torch.full_like(density, 2.0)
    share[0] = 0.5
    if samples % 2 == 0:
        share[-1] = 0.5
    variance = (share * density**2).sum() / samples
    return torch.fft.irfft(spectrum * (density * variance.clamp(min=1e-12).rsqrt()), n=samples, norm="ortho")
