from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_ecg.views import AUGMENTATIONS, Augment
from ssl_ecg.views.augment import amplitude_scaling, baseline_wander, gaussian_noise, lead_masking, time_masking

RATE = 100.0


def apply(name: str, signal: torch.Tensor, strength: float) -> torch.Tensor:
    rate = {"sampling_rate": RATE} if name == "baseline_wander" else {}
    return AUGMENTATIONS[name](signal, strength, **rate)


@pytest.mark.parametrize("name", AUGMENTATIONS)
@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 5),
    leads=st.sampled_from([1, 3, 12]),
    samples=st.integers(2, 300),
    strength=st.floats(0, 0.99),
    dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]),
    seed=st.integers(0, 2**32),
)
def test_keeps_shape_type_and_input_and_repeats_with_the_seed(
    name: str, batch: int, leads: int, samples: int, strength: float, dtype: torch.dtype, seed: int
) -> None:
    signal = torch.randn(batch, leads, samples, generator=torch.Generator().manual_seed(1)).to(dtype)
    before = signal.clone()
    torch.manual_seed(seed)
    first = apply(name, signal, strength)
    torch.manual_seed(seed)
    second = apply(name, signal, strength)
    assert first.shape == signal.shape
    assert first.dtype == dtype
    assert first.isfinite().all()
    assert torch.equal(first, second)
    assert torch.equal(signal, before)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_strength_0_is_the_identity_and_another_seed_is_another_draw(name: str) -> None:
    signal = torch.randn(4, 12, 200)
    assert torch.equal(apply(name, signal, 0.0), signal)
    torch.manual_seed(0)
    one = apply(name, signal, 0.5)
    torch.manual_seed(1)
    assert not torch.equal(one, apply(name, signal, 0.5))


@pytest.mark.parametrize("probability", [0.2, 0.5, 0.9])
def test_lead_masking_masks_the_right_share_of_whole_leads_and_leaves_one(probability: float) -> None:
    torch.manual_seed(0)
    leads, batch = 12, 4000
    signal = torch.rand(batch, leads, 5) + 1
    masked = lead_masking(signal, probability)
    kept = (masked != 0).all(2)
    assert torch.equal(kept, (masked != 0).any(2))  # a lead goes as a whole
    assert torch.equal(masked[kept], signal[kept])
    assert kept.any(1).all()
    # Every lead independently, but for the one that stays where all would have gone.
    expected = (1 - probability) + probability**leads / leads
    error = math.sqrt(expected * (1 - expected) / (batch * leads))
    assert float(kept.float().mean()) == pytest.approx(expected, abs=4 * error)
    assert float(kept.float().mean(0).std()) < 4 * math.sqrt(expected * (1 - expected) / batch)  # no favourite lead


@given(leads=st.integers(1, 12), seed=st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_a_lead_stays_even_at_the_highest_probability(leads: int, seed: int) -> None:
    torch.manual_seed(seed)
    masked = lead_masking(torch.ones(50, leads, 4), 0.999)
    assert (masked.sum(2) > 0).any(1).all()


@given(spread=st.floats(0, 0.999), seed=st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_amplitude_scaling_is_one_factor_a_lead_within_its_limits_and_never_flips(spread: float, seed: int) -> None:
    torch.manual_seed(seed)
    signal = torch.rand(3, 12, 20, dtype=torch.float64) + 0.5
    signal[:, ::2] *= -1
    factor = amplitude_scaling(signal, spread) / signal
    assert (factor > 0).all()
    assert torch.allclose(factor, factor[..., :1])
    assert ((factor - 1).abs() <= spread + 1e-6).all()


def test_gaussian_noise_has_a_level_of_its_own_per_record_up_to_the_given_one() -> None:
    torch.manual_seed(0)
    deviation = gaussian_noise(torch.zeros(400, 12, 500), 0.3).std((1, 2))
    assert deviation.max() < 0.3 * 1.05
    assert float(deviation.mean()) == pytest.approx(0.15, abs=0.02)  # uniform from 0 to 0.3
    assert float(deviation.std()) == pytest.approx(0.3 / math.sqrt(12), abs=0.02)


def test_baseline_wander_is_slow_and_small() -> None:
    torch.manual_seed(0)
    wander = baseline_wander(torch.zeros(64, 12, 2000), 0.4, sampling_rate=RATE)
    assert wander.abs().max() <= 0.4
    assert wander.abs().max() > 0.3
    power = torch.fft.rfft(wander * torch.hann_window(2000)).abs() ** 2
    frequency = torch.fft.rfftfreq(2000, 1 / RATE)
    assert power[..., frequency > 0.65].sum() < 1e-3 * power.sum()


@given(share=st.floats(0, 0.99), samples=st.integers(2, 300), seed=st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_time_masking_clears_one_window_of_all_leads(share: float, samples: int, seed: int) -> None:
    torch.manual_seed(seed)
    cleared = time_masking(torch.ones(6, 3, samples), share) == 0
    assert (cleared == cleared[:, :1]).all()
    assert (cleared[:, 0].sum(1) == round(share * samples)).all()
    # One window: at most one rise and one fall along time.
    assert (cleared[:, 0].int().diff(dim=1).abs().sum(1) <= 2).all()


def test_chain_applies_the_named_ones_with_masks_last() -> None:
    signal = torch.randn(8, 12, 100)
    strengths = {"lead_masking": 0.5, "gaussian_noise": 0.2, "baseline_wander": 0.0}
    torch.manual_seed(3)
    chained = Augment(strengths, RATE)(signal)
    torch.manual_seed(3)
    assert torch.equal(chained, lead_masking(gaussian_noise(signal, 0.2), 0.5))
    assert (chained == 0).all(2).any()  # noise does not fill masked leads
    assert torch.equal(Augment({}, RATE)(signal), signal)


@pytest.mark.parametrize("strength", [-0.1, 1.0, 2.0, float("nan")])
def test_an_impossible_strength_is_refused_by_name(strength: float) -> None:
    with pytest.raises(ValueError, match=rf"augment\.gaussian_noise={strength}"):
        Augment({"gaussian_noise": strength}, RATE)


def test_an_unknown_augmentation_is_refused_with_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"augment='mixup'.*lead_masking"):
        Augment({"mixup": 0.5}, RATE)
