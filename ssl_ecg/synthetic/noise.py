"""What electrodes pick up beside the heart, so that Einthoven's law holds for the noise as well.

All noise is made at the electrodes. Levels are those of routine resting ECGs: tens of microvolts of wander, a few of
muscle and mains, now and then an electrode that moves or has poor contact.
"""

from __future__ import annotations

import numpy as np
from scipy import fft

MAINS = 50.0
"""Hz."""


def electrode_noise(
    electrodes: int, samples: int, sampling_rate: float, respiration: float, rng: np.random.Generator
) -> np.ndarray:
    """Noise of one record.

    Args:
        electrodes: Number E of electrodes; the first three are on the limbs, where muscles are nearer.
        samples: Length T of the record.
        sampling_rate: Hz. What lies above half of it is left out, as a recorder's anti-alias filter does.
        respiration: Breaths a second.
        rng: Source of randomness.

    Returns:
        float64 [E, T], mV.
    """
    clock = np.arange(samples) / sampling_rate
    wander = rng.lognormal(np.log(0.035), 0.6, (electrodes, 1))
    breathing = wander * np.sin(2 * np.pi * respiration * clock + rng.uniform(0, 2 * np.pi))

    # Random-walk drift below 0.7 Hz and the amplifier's own 0.1 uV per square root of Hz, as one shaped spectrum.
    frequency = fft.rfftfreq(samples, 1 / sampling_rate)
    density = 0.04 / np.maximum(frequency, 0.05) * (frequency < 0.7) * rng.lognormal(0, 0.5, (electrodes, 1)) + 0.0001
    noise = breathing + _shaped(density, samples, sampling_rate, rng)

    muscle = 0.0005 * rng.lognormal(0, 0.8) * rng.lognormal(0, 0.4, (electrodes, 1))
    muscle[:3] *= 1.5
    muscle = muscle * ((frequency > 15) & (frequency < 150))
    burst = 1 + (rng.random() < 0.2) * 3 * np.exp(
        -0.5 * ((clock - rng.uniform(0, clock[-1])) / rng.uniform(0.3, 2)) ** 2
    )
    noise += burst * _shaped(muscle, samples, sampling_rate, rng)

    mains = rng.lognormal(np.log(0.006), 0.8) * rng.lognormal(0, 0.4, (electrodes, 1))
    phase = rng.uniform(0, 2 * np.pi) + rng.normal(0, 0.3, (electrodes, 1))
    if sampling_rate > 2 * MAINS:
        noise += mains * np.sin(2 * np.pi * MAINS * clock + phase)

    return noise + _artefacts(electrodes, clock, rng)


def _shaped(density: np.ndarray, samples: int, sampling_rate: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise [E, T] of amplitude spectral density [E, F], mV per square root of Hz: the same at any rate."""
    white = rng.standard_normal((len(density), samples)) * np.sqrt(sampling_rate / 2)
    return fft.irfft(fft.rfft(white) * density, samples)


def _artefacts(electrodes: int, clock: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Electrode motion (a jump that decays) in one record of eight: [E, T], mV."""
    motion = np.zeros((electrodes, len(clock)))
    if rng.random() < 0.125:
        for _ in range(rng.integers(1, 4)):
            since = clock - rng.uniform(0, clock[-1])
            jump = (
                rng.normal(0, 0.4) * (1 - np.exp(-since.clip(0) / 0.04)) * np.exp(-since.clip(0) / rng.uniform(0.2, 1))
            )
            motion[rng.integers(electrodes)] += np.where(since > 0, jump, 0)
    return motion
