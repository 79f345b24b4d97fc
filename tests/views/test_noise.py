from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import kurtosis

from ssl_ecg.views.noise import (
    baseline_wander,
    electrode_motion,
    gaussian_noise,
    mains,
    muscle_noise,
    pink_noise,
)


def power(noise: torch.Tensor, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies [F] in Hz and power [..., F] behind a Hann window."""
    samples = noise.shape[-1]
    spectrum = np.fft.rfft(noise.double().numpy() * np.hanning(samples))
    return np.fft.rfftfreq(samples, 1 / rate), np.abs(spectrum) ** 2


def test_gaussian_noise_has_a_level_of_its_own_per_record_up_to_the_given_one() -> None:
    torch.manual_seed(0)
    deviation = gaussian_noise(torch.zeros(400, 12, 500), 0.3).std((1, 2))
    assert deviation.max() < 0.3 * 1.05
    assert float(deviation.mean()) == pytest.approx(0.15, abs=0.02)  # uniform from 0 to 0.3
    assert float(deviation.std()) == pytest.approx(0.3 / math.sqrt(12), abs=0.02)


@pytest.mark.parametrize("samples", [500, 501])
def test_pink_noise_has_its_level_and_power_that_falls_as_one_over_frequency(samples: int) -> None:
    torch.manual_seed(0)
    noise = pink_noise(torch.zeros(2000, 2, samples), 0.3)
    deviation = noise.square().mean((1, 2)).sqrt()
    assert float(deviation.square().mean()) == pytest.approx(0.3**2 / 3, rel=0.1)  # uniform from 0 to 0.3
    assert noise.mean(2).abs().max() < 1e-6
    spectrum = np.abs(np.fft.rfft((noise / deviation[:, None, None]).numpy())[..., 1:-1]) ** 2
    frequency = np.arange(1, spectrum.shape[-1] + 1)
    slope, _ = np.polyfit(np.log(frequency), np.log(spectrum.mean((0, 1))), 1)
    assert slope == pytest.approx(-1, abs=0.02)
    # Gaussian, and two leads have nothing in common.
    assert abs(kurtosis(noise[..., 100] / deviation[:, None], axis=None)) < 0.4
    assert abs(np.corrcoef(noise[:, 0].flatten(), noise[:, 1].flatten())[0, 1]) < 0.02


def test_baseline_wander_is_slow_and_small() -> None:
    torch.manual_seed(0)
    wander = baseline_wander(torch.zeros(64, 12, 2000), 0.4, sampling_rate=100)
    assert wander.abs().max() <= 0.4
    assert wander.abs().max() > 0.3
    frequency, found = power(wander, 100)
    assert found[..., frequency > 0.65].sum() < 1e-3 * found.sum()
    main = frequency[found.sum(1).argmax(1)]  # to 0.05 Hz
    assert main.min() <= 0.1
    assert main.max() >= 0.45


@pytest.mark.parametrize(("rate", "highest"), [(100, 50), (250, 125), (500, 150)])
def test_muscle_noise_lies_between_20_and_150_hz(rate: int, highest: float) -> None:
    torch.manual_seed(0)
    frequency, found = power(muscle_noise(torch.zeros(32, 9, 10 * rate), 0.5, rate), rate)
    total = found.sum()
    assert found[..., (frequency < 18) | (frequency > highest + 2)].sum() < 1e-3 * total
    # White in between: half of it in the lower half of the band.
    assert found[..., frequency < (20 + highest) / 2].sum() / total == pytest.approx(0.5, abs=0.03)


def test_muscle_noise_is_a_burst_at_the_same_time_in_all_rows() -> None:
    torch.manual_seed(0)
    noise = muscle_noise(torch.zeros(200, 9, 3000), 0.5, sampling_rate=100)
    envelope = noise.square().unflatten(2, (60, 50)).mean(3)  # [B, 9, 60 half seconds]
    assert float(envelope.amax().sqrt()) == pytest.approx(0.5, rel=0.5)
    assert (envelope.amin(2) < 1e-2 * envelope.amax(2)).all()
    loud = envelope.amax((1, 2)) > 1e-3
    centre = (envelope * torch.arange(60)).sum(2) / envelope.sum(2)  # half seconds
    assert float((centre - centre.mean(1, keepdim=True)).abs()[loud].mean()) < 2
    assert float(centre.mean(1).std()) > 10
    # Power falls as a Gaussian of length / sqrt(2): 0.14 to 1.4 s.
    spread = ((envelope * (torch.arange(60) - centre[..., None]) ** 2).sum(2) / envelope.sum(2)).sqrt().mean(1) / 2
    assert float(spread[loud].min()) < 0.4
    assert 1.1 < float(spread[loud].max()) < 1.6


def test_electrode_motion_is_a_jump_that_fades_at_a_time_of_its_own() -> None:
    torch.manual_seed(0)
    rate, level = 100.0, 0.6
    motion = electrode_motion(torch.zeros(50, 9, 1000), level, rate)
    starts, constants = [], []
    for row in motion.flatten(0, 1):
        moved = row.nonzero().flatten()
        if not len(moved):  # after the last sample
            continue
        assert row.abs().max() <= level
        assert torch.equal(moved, torch.arange(moved[0], 1000))  # nothing before the jump
        starts.append(float(moved[0]))
        fade = row[moved] / row[moved[0]]
        if len(fade) > 10:
            constant = -1 / (rate * torch.log(fade[1]))
            constants.append(float(constant))
            assert 0.19 < constants[-1] < 3.01
            assert torch.allclose(fade, torch.exp(-torch.arange(len(fade)) / rate / constant), atol=2e-3)
    assert np.std(starts) == pytest.approx(1000 / math.sqrt(12), rel=0.1)
    assert min(constants) < 0.3
    assert max(constants) > 2.9
    assert motion.amax() > 0.5
    assert motion.amin() < -0.5


@pytest.mark.parametrize(
    ("rate", "lines"),
    [
        (110, {50: [50]}),  # 60 Hz cannot be sampled
        (200, {50: [50], 60: [60]}),  # 100 Hz is half the sampling rate: not there either
        (300, {50: [50, 100], 60: [60, 120]}),
        (500, {50: [50, 100, 150], 60: [60, 120, 180]}),
    ],
)
def test_mains_is_a_line_at_50_or_60_hz_with_the_harmonics_that_can_be_sampled(
    rate: int, lines: dict[int, list[int]]
) -> None:
    torch.manual_seed(0)
    frequency, found = power(mains(torch.zeros(200, 3, 10 * rate), 0.3, rate), rate)
    fundamental = frequency[found.sum(1).argmax(1)].round().astype(int)
    assert set(fundamental) == set(lines)
    for hertz, expected in lines.items():
        spectrum = found[fundamental == hertz].sum((0, 1))
        near = np.abs(frequency - np.array(expected)[:, None]) < 0.35
        assert (spectrum[near.any(0)]).sum() > 0.9999 * spectrum.sum()
        shares = [spectrum[line].sum() / spectrum.sum() for line in near]
        assert min(shares) > 0.005
        assert shares[0] > 0.8


def test_mains_has_one_phase_a_record_and_amplitudes_of_its_own_a_row() -> None:
    torch.manual_seed(0)
    hum = mains(torch.zeros(300, 9, 1000), 0.3, sampling_rate=200)  # no harmonics
    amplitude = hum.square().mean(2).mul(2).sqrt()
    assert amplitude.max() <= 0.3 * 1.001
    assert float(amplitude.mean()) == pytest.approx(0.15, abs=0.01)
    rank = torch.linalg.matrix_rank(hum, rtol=1e-4)
    assert (rank == 1).all()
    phase = torch.angle(torch.fft.rfft(hum[:, 0])).gather(1, torch.fft.rfft(hum[:, 0]).abs().argmax(1)[:, None])
    assert float(torch.exp(1j * phase).mean().abs()) < 0.15  # all phases alike
