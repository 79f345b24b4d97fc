"""From dipole to leads: electrodes that lie elsewhere in everyone, noise, and the filters of a recorder."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.signal import butter, sosfreqz
from torch import Tensor

from ssl_ecg.records.electrodes import ELECTRODES, FIELD
from ssl_ecg.signals import SignalSettings
from ssl_ecg.synthetic.dipole import ATRIAL_FIELD
from ssl_ecg.synthetic.simulator.conditions import Plan
from ssl_ecg.synthetic.simulator.rhythms import uniform

LIMBS = 3


def draw_fields(count: int, device: torch.device) -> Tensor:
    """Draw what electrodes see of a unit dipole in the ventricles and in the atria, mV: [2, B, 9, 3].

    Dower's coefficients, each chest electrode moved along the chest by up to half the way to the next (as technicians
    place them: Wenger & Kligfield, J Electrocardiol 1996) and up or down, nearer to or farther from the heart, and with
    deviations of their own; Frank's torso is not everyone's.
    """
    nominal = torch.tensor(np.stack([FIELD, ATRIAL_FIELD]), dtype=torch.float32, device=device)[:, None]
    field = nominal.repeat(1, count, 1, 1)
    place = (
        torch.arange(6, device=device)
        + 0.22 * torch.randn(count, 1, device=device)
        + 0.15 * torch.randn(count, 6, device=device)
    )
    place = place.clamp(0, 5)
    before = place.floor().clamp(max=4).long()
    share = (place - before)[..., None]
    chest = nominal[:, 0, LIMBS:]
    field[:, :, LIMBS:] = torch.lerp(chest[:, before], chest[:, before + 1], share)
    height = 0.10 * torch.randn(count, 1, device=device) + 0.05 * torch.randn(count, 6, device=device)
    field[:, :, LIMBS:, 1] += height
    near = torch.exp(0.16 * torch.randn(count, 1, device=device) + 0.10 * torch.randn(count, 6, device=device))
    field[:, :, LIMBS:] *= near[..., None]
    spread = torch.tensor([0.03] * LIMBS + [0.07] * 6, device=device)[:, None]
    return field + spread * torch.randn(1, count, len(ELECTRODES), 3, device=device)


def draw_wiring(plan: Plan) -> Tensor:
    """Draw which electrode each wire of the recorder ends at, long [B, 9]; not its own where electrodes are swapped."""
    wire = torch.arange(len(ELECTRODES), device=plan.age.device).repeat(len(plan), 1)
    arms = torch.tensor([1, 0, 2, 3, 4, 5, 6, 7, 8], device=wire.device)
    right_leg = torch.tensor([2, 1, 0, 3, 4, 5, 6, 7, 8], device=wire.device)
    left_leg = torch.tensor([0, 2, 1, 3, 4, 5, 6, 7, 8], device=wire.device)
    for name, swapped in (
        ("arms_swapped", arms),
        ("right_arm_and_leg_swapped", right_leg),
        ("left_arm_and_leg_swapped", left_leg),
    ):
        wire = torch.where(plan.has(name)[:, None], swapped, wire)
    first = torch.randint(LIMBS, len(ELECTRODES) - 1, (len(plan), 1), device=wire.device)
    second = torch.where(torch.rand_like(first, dtype=torch.float32) < 0.6, first + 1, (first + 3).clamp(max=8))
    chest = torch.where(wire == first, second, torch.where(wire == second, first, wire))
    return torch.where(plan.has("chest_electrodes_swapped")[:, None], chest, wire)


def draw_response(count: int, samples: int, settings: SignalSettings, device: torch.device) -> Tensor:
    """Draw what recorders and the archive's own filter pass, complex [B, F].

    A recorder has a high-pass of .05 to .5 Hz, of one pole or of zero phase, and a low-pass of 35 to 150 Hz
    (Kligfield et al., AHA/ACC/HRS, Circulation 2007, and what is found in practice). The archive's filter is that of
    ``signals.filters.bandpass``: forwards and backwards.
    """
    frequency = torch.fft.rfftfreq(samples, 1 / settings.sampling_rate, device=device)
    corner = torch.exp(uniform(math.log(0.05), math.log(0.5), count, 1, device=device))
    pole = 1j * frequency / corner
    response = pole / (1 + pole)
    response = torch.where(torch.rand(count, 1, device=device) < 0.5, response, response.abs().to(response.dtype))
    low_pass = torch.exp(uniform(math.log(35), math.log(150), count, 1, device=device))
    response = response / (1 + (frequency / low_pass) ** 4)
    if settings.band is not None:
        sections = butter(2, settings.band, "bandpass", fs=settings.sampling_rate, output="sos")
        _, gain = sosfreqz(sections, worN=frequency.cpu().numpy(), fs=settings.sampling_rate)
        response = response * torch.tensor(np.abs(gain) ** 2, dtype=torch.float32, device=device)
    return response


def filtered(signal: Tensor, response: Tensor) -> Tensor:
    """Return signals [B, ..., T] as recorders with a response [B, F] write them."""
    response = response.reshape(len(response), *[1] * (signal.ndim - 2), -1)
    return torch.fft.irfft(torch.fft.rfft(signal) * response, signal.shape[-1])


def draw_noise(count: int, samples: int, sampling_rate: float, response: Tensor) -> Tensor:
    """Draw what the electrodes pick up beside the heart, mV: [B, 9, T].

    Wander with breath and drift, muscle, mains, and the amplifier's noise, each at a level of its own over a range of
    about thirty, so that records from clean to hardly legible are as frequent; now and then a burst of muscle, or an
    electrode that moves. The first three electrodes are on the limbs, where muscles are nearer.
    """
    device = response.device
    frequency = torch.fft.rfftfreq(samples, 1 / sampling_rate, device=device)

    def level(typical: float, spread: float) -> Tensor:
        own = torch.exp(spread * torch.randn(count, 1, 1, device=device))
        return typical * own * torch.exp(0.4 * torch.randn(count, len(ELECTRODES), 1, device=device))

    white, muscle = level(0.0005, 0.9), level(0.0007, 1.0)
    muscle[:, :LIMBS] *= 1.5
    drift = level(0.02, 0.8) / frequency.clamp(min=0.1) ** 1.3 * (frequency < 3)
    density = white + muscle * ((frequency > 12) & (frequency < 150)) + drift
    # A real signal of n samples with density d: each coefficient has the variance n x rate / 2 x d^2, half of it real.
    scale = math.sqrt(samples * sampling_rate / 4)
    spectrum = torch.view_as_complex(torch.randn(*density.shape, 2, device=device)) * (scale * density)
    clock = torch.arange(samples, device=device) / sampling_rate
    if sampling_rate > 130:
        hum = torch.where(torch.rand(count, 1, 1, device=device) < 0.6, 50.0, 60.0)
        line = (frequency - hum).abs() == (frequency - hum).abs().amin(2, keepdim=True)
        height = level(0.006, 1.0) * torch.rand(count, 1, 1, device=device)
        spectrum = spectrum + line * torch.polar(height * samples / 2, 2 * math.pi * torch.rand_like(height))
    moved = torch.nonzero(torch.rand(count, device=device) < 0.12)[:, 0]
    if len(moved):
        spectrum[moved] += torch.fft.rfft(_motion(len(moved), clock))
    noise = torch.fft.irfft(spectrum * response[:, None], samples)
    loud = (torch.rand(count, 1, 1, device=device) < 0.2) * uniform(1, 4, count, 1, 1, device=device)
    middle, width = torch.rand(count, 1, 1, device=device) * clock[-1], uniform(0.3, 2, count, 1, 1, device=device)
    return noise * (1 + loud * torch.exp(-0.5 * ((clock - middle) / width) ** 2))


def _motion(count: int, clock: Tensor) -> Tensor:
    """Return jumps of one electrode each that decay, mV: [R, 9, T]."""
    device = clock.device
    since = clock - torch.rand(count, 1, 1, device=device) * clock[-1]
    decay = uniform(0.2, 1.2, count, 1, 1, device=device)
    jump = (since > 0) * (1 - torch.exp(-since.clamp(min=0) / 0.04)) * torch.exp(-since.clamp(min=0) / decay)
    electrode = torch.randint(len(ELECTRODES), (count, 1, 1), device=device)
    here = torch.arange(len(ELECTRODES), device=device)[:, None] == electrode
    return here * 0.5 * torch.randn(count, 1, 1, device=device) * jump
