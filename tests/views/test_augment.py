from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_ecg.records import LEADS, RecordError
from ssl_ecg.synthetic import draw_ecgs
from ssl_ecg.views import AUGMENTATIONS, Augment
from ssl_ecg.views.augment import NOISE, amplitude_scaling, lead_masking, respiratory_modulation, time_masking
from ssl_ecg.views.noise import baseline_wander, gaussian_noise

RATE = 250.0
BREAKS_LIMB_LEADS = {"lead_masking"}
# Small beside a QRS complex of 1 mV: the values that docs/augmentations.md gives to start with.
SMALL = {
    "crop_and_resize": 0.2,
    "time_warp": 0.1,
    "vcg_rotation": 0.2,
    "respiratory_modulation": 0.2,
    "amplitude_scaling": 0.2,
    "baseline_wander": 0.1,
    "pink_noise": 0.05,
    "muscle_noise": 0.05,
    "electrode_motion": 0.1,
    "mains": 0.05,
    "gaussian_noise": 0.05,
}


def needs(name: str) -> dict[str, Any]:
    """What the function takes beside signal and strength."""
    if name == "vcg_rotation":
        return {"leads": LEADS}
    timed = NOISE - {"gaussian_noise", "pink_noise"} | {"time_warp", "respiratory_modulation"}
    return {"sampling_rate": RATE} if name in timed else {}


@cache
def beats() -> torch.Tensor:
    """Clean ECGs in millivolts, [4, 12, 1250]."""
    return torch.from_numpy(draw_ecgs(4, sampling_rate=RATE, duration=5, noise=False).signal)


@pytest.mark.parametrize("name", AUGMENTATIONS)
@settings(max_examples=20, deadline=None)
@given(
    batch=st.integers(1, 5),
    leads=st.sampled_from([1, 3, 12]),
    named=st.booleans(),
    samples=st.integers(1, 300),
    kind=st.sampled_from(["random", "zero", "constant"]),
    strength=st.floats(0, 0.99),
    dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]),
    seed=st.integers(0, 2**32),
)
def test_keeps_shape_type_and_input_and_repeats_with_the_seed(
    name: str,
    batch: int,
    leads: int,
    named: bool,
    samples: int,
    kind: str,
    strength: float,
    dtype: torch.dtype,
    seed: int,
) -> None:
    if name == "vcg_rotation":
        leads, named = 12, True
    random = torch.randn(batch, leads, samples, generator=torch.Generator().manual_seed(1))
    signal = {"random": random, "zero": torch.zeros_like(random), "constant": torch.full_like(random, 3.0)}[kind]
    signal = signal.to(dtype)
    before = signal.clone()
    augment = Augment({name: strength}, RATE, LEADS[:leads] if named else None)
    torch.manual_seed(seed)
    first = augment(signal)
    torch.manual_seed(seed)
    second = augment(signal)
    assert first.shape == signal.shape
    assert first.dtype == dtype
    assert first.device == signal.device
    assert first.isfinite().all()
    assert torch.equal(first, second)
    assert torch.equal(signal, before)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_strength_0_is_the_identity_and_another_seed_is_another_draw(name: str) -> None:
    signal = torch.randn(4, 12, 200)
    assert torch.equal(AUGMENTATIONS[name](signal, 0.0, **needs(name)), signal)
    torch.manual_seed(0)
    one = AUGMENTATIONS[name](signal, 0.5, **needs(name))
    torch.manual_seed(1)
    assert not torch.equal(one, AUGMENTATIONS[name](signal, 0.5, **needs(name)))


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_records_of_a_batch_are_changed_differently(name: str) -> None:
    signal = torch.randn(1, 12, 200).repeat(6, 1, 1)
    torch.manual_seed(0)
    changed = AUGMENTATIONS[name](signal, 0.5, **needs(name))
    for other in range(1, 6):
        assert not torch.equal(changed[0], changed[other])


@pytest.mark.parametrize("named", [False, True])
def test_what_is_off_draws_nothing(named: bool) -> None:
    state = torch.get_rng_state()
    signal = torch.ones(2, 12, 20)
    assert torch.equal(Augment(dict.fromkeys(AUGMENTATIONS, 0.0), RATE, LEADS if named else None)(signal), signal)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_autocast_neither_rounds_the_signal_nor_changes_a_draw(name: str) -> None:
    augment = Augment({name: 0.3}, RATE, LEADS)
    for dtype in (torch.float32, torch.bfloat16):
        signal = torch.randn(3, 12, 100).to(dtype)
        torch.manual_seed(0)
        plain = augment(signal)
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16):
            cast = augment(signal)
        assert cast.dtype == dtype
        assert torch.equal(cast, plain)


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_a_missing_lead_stays_missing_and_what_is_there_does_not(name: str, named: bool) -> None:
    missing = torch.rand(64, 12) < 0.3
    missing[:, 0] = False  # every record has a lead
    missing[1] = torch.arange(12) == 3  # aVR, which a rotation would fill from the others
    signal = (torch.rand(64, 12, 100) + 1).masked_fill(missing[..., None], 0.0)
    for strength in (0.3, 0.9):
        torch.manual_seed(0)
        augment = Augment({name: strength}, RATE, LEADS if named or name == "vcg_rotation" else None)
        changed = augment(signal, leads=~missing)
        empty = (changed == 0).all(2)
        assert empty[missing].all()
        if name == "lead_masking":  # the one that stays is not one of those that are missing
            assert not empty.all(1).any()
        else:
            assert torch.equal(empty, missing)
        assert not torch.equal(changed, signal)


@pytest.mark.parametrize("name", sorted(NOISE))
def test_a_flat_lead_that_was_recorded_gets_noise_as_any_other(name: str) -> None:
    signal = torch.zeros(4, 12, 200)
    torch.manual_seed(0)
    changed = Augment({name: 0.5}, RATE, LEADS)(signal, torch.full((4,), 200), torch.ones(4, 12, dtype=torch.bool))
    assert (changed != 0).any(2).all()


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_padding_stays_padding_and_never_reaches_what_was_recorded(name: str) -> None:
    recorded = torch.tensor([130, 200]).repeat(16)
    signal = torch.rand(32, 12, 200) + 1
    signal[::2, :, 130:] = 0
    torch.manual_seed(0)
    changed = Augment({name: 0.9}, RATE, LEADS)(signal, recorded)
    assert not changed[::2, :, 130:].any()
    assert changed[1::2, :, 130:].any()
    assert not torch.equal(changed, signal)
    signal[::2, :, 130:] = 1000
    torch.manual_seed(0)
    assert torch.equal(Augment({name: 0.9}, RATE, LEADS)(signal, recorded), changed)


def test_time_masking_hides_its_share_of_what_was_recorded() -> None:
    recorded = torch.tensor([100, 40, 7])
    hidden = time_masking(torch.ones(3, 2, 100), 0.3, recorded)[:, 0] == 0
    assert hidden.sum(1).tolist() == [30, 12, 2]
    assert not (hidden & (torch.arange(100) >= recorded[:, None])).any()


def limb_error(signal: torch.Tensor) -> float:
    """How far the limb leads of [B, 12, T] are from Einthoven's law and Goldberger's definitions."""
    one, two, three, avr, avl, avf = signal[:, :6].unbind(1)
    errors = [three - (two - one), avr + (one + two) / 2, avl - (one - two / 2), avf - (two - one / 2)]
    return float(torch.stack(errors).abs().max())


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_limb_leads_stay_consistent_where_the_documentation_says_so(name: str) -> None:
    signal = beats()
    assert limb_error(signal) < 1e-5
    torch.manual_seed(0)
    changed = Augment({name: 0.3}, RATE, LEADS)(signal)
    assert (changed - signal).abs().max() > 0.01
    if name in BREAKS_LIMB_LEADS:
        assert limb_error(changed) > 0.01
    else:
        assert limb_error(changed) < 1e-5


@pytest.mark.parametrize("name", sorted(NOISE))
def test_noise_of_leads_without_names_is_independent_of_einthoven(name: str) -> None:
    torch.manual_seed(0)
    assert limb_error(Augment({name: 0.3}, RATE)(beats())) > 0.01


@pytest.mark.parametrize(
    ("leads", "correlation"),
    [
        (("I", "II"), 0.5),  # share the right arm, with the same sign
        (("I", "III"), -0.5),  # share the left arm, with opposite signs
        (("I", "V1"), 0.0),  # both arms enter Wilson's terminal with a third
        (("V1", "V2"), 0.25),  # share Wilson's terminal: (1/3) / (1 + 1/3)
        (("V3", "aVF"), 0.0),
    ],
)
def test_noise_of_named_leads_comes_from_shared_electrodes(leads: tuple[str, str], correlation: float) -> None:
    torch.manual_seed(0)
    noise = Augment({"gaussian_noise": 0.5}, RATE, leads)(torch.zeros(20, 2, 5000))
    unit = noise / noise.norm(dim=2, keepdim=True)
    assert float((unit[:, 0] * unit[:, 1]).sum(1).mean()) == pytest.approx(correlation, abs=0.02)


@pytest.mark.parametrize("name", SMALL)
def test_a_small_strength_keeps_the_sign_and_shape_of_a_beat(name: str) -> None:
    ecg = beats()[0]
    peak = ecg[:, ecg.abs().sum(0).argmax()] / ecg.abs().max()  # R in all leads, as a heart makes it
    large = peak.abs() > 0.5
    clock = torch.arange(250) / RATE - 0.5
    beat = (peak[:, None] * torch.exp(-0.5 * (clock / 0.02) ** 2)).repeat(100, 1, 1)
    torch.manual_seed(0)
    changed = Augment({name: SMALL[name]}, RATE, LEADS)(beat)
    beat, changed = (leads[:, large] - leads[:, large].mean(2, keepdim=True) for leads in (beat, changed))
    spectra = torch.fft.rfft(beat, 500).conj() * torch.fft.rfft(changed, 500)
    # Correlation at all lags: a warp moves the beat.
    likeness = torch.fft.irfft(spectra, 500) / (beat.norm(dim=2) * changed.norm(dim=2))[..., None]
    assert (likeness.amax(2) > -likeness.amin(2)).all()
    assert likeness.amax(2).min() > 0.7


def test_documentation_lists_every_augmentation_in_order_with_what_is_tested_here() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "augmentations.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| `")]
    assert [name.strip("`") for name, *_ in rows] == list(AUGMENTATIONS)
    assert {name.strip("`"): float(small) for name, _, _, small, *_ in rows if name.strip("`") in SMALL} == SMALL
    assert {name.strip("`") for name, *_, agree, _, _ in rows if agree == "**no**"} == BREAKS_LIMB_LEADS
    assert {name.strip("`") for name, *_, agree, _, _ in rows if agree == "with names"} == NOISE | {"amplitude_scaling"}


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


def test_named_limb_leads_are_scaled_alike_and_chest_leads_each_by_itself() -> None:
    torch.manual_seed(0)
    factor = Augment({"amplitude_scaling": 0.3}, RATE, ("V2", "aVR", "I", "V1", "III"))(torch.ones(5, 5, 2))[..., 0]
    assert torch.equal(factor[:, 1:2].expand(-1, 2), factor[:, [2, 4]])
    assert (factor[:, [0, 3]] - factor[:, [3, 1]]).abs().min() > 1e-3
    assert (factor[:, 0] - factor[:, 1]).abs().min() > 1e-3


def test_respiratory_modulation_is_one_slow_positive_factor_for_all_leads() -> None:
    torch.manual_seed(0)
    signal = torch.rand(64, 3, 5000, dtype=torch.float64) + 0.5
    factor = respiratory_modulation(signal, 0.4, sampling_rate=RATE) / signal
    assert torch.allclose(factor, factor[:, :1])
    assert 0.6 <= factor.min() < 0.65
    assert 1.35 < factor.max() <= 1.4
    power = torch.fft.rfft((factor - 1) * torch.hann_window(5000)).abs() ** 2
    frequency = torch.fft.rfftfreq(5000, 1 / RATE)
    assert power[..., (frequency < 0.05) | (frequency > 0.5)].sum() < 1e-2 * power.sum()


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
    strengths = {"lead_masking": 0.5, "gaussian_noise": 0.2, "baseline_wander": 0.3, "mains": 0.0}
    torch.manual_seed(3)
    chained = Augment(strengths, RATE)(signal)
    torch.manual_seed(3)
    expected = lead_masking(gaussian_noise(baseline_wander(signal, 0.3, RATE), 0.2), 0.5)
    assert torch.equal(chained, expected)
    assert (chained == 0).all(2).any()  # noise does not fill masked leads
    signal[:, 0] = 0
    leads = (torch.arange(12) > 0).expand(8, -1)
    one_left = Augment({"lead_masking": 0.999, "gaussian_noise": 0.2}, RATE)(signal, leads=leads)
    assert torch.equal((one_left != 0).any(2).sum(1), torch.ones(8, dtype=torch.long))
    assert (one_left[:, 0] == 0).all()
    assert torch.equal(Augment({}, RATE)(signal), signal)


@pytest.mark.parametrize("strength", [-0.1, 1.0, 2.0, float("nan")])
def test_an_impossible_strength_is_refused_by_name(strength: float) -> None:
    with pytest.raises(ValueError, match=rf"augment\.gaussian_noise={strength}"):
        Augment({"gaussian_noise": strength}, RATE)


def test_an_unknown_augmentation_is_refused_with_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"augment='mixup'.*lead_masking"):
        Augment({"mixup": 0.5}, RATE)


@pytest.mark.parametrize(("name", "rate"), [("mains", 100.0), ("muscle_noise", 40.0)])
def test_noise_above_what_the_sampling_rate_can_hold_is_refused(name: str, rate: float) -> None:
    with pytest.raises(ValueError, match=rf"augment\.{name}=0\.1: a signal of {rate:g} Hz .* above {rate:g} Hz"):
        Augment({name: 0.1}, rate)
    Augment({name: 0.0}, rate)
    Augment({name: 0.1}, rate + 1)


@pytest.mark.parametrize(("leads", "missing"), [(None, "I, II, V1"), (LEADS[:6], "V1, V2, V3, V4, V5, V6")])
def test_a_rotation_without_the_leads_it_needs_is_refused(leads: tuple[str, ...] | None, missing: str) -> None:
    with pytest.raises(ValueError, match=rf"vcg_rotation needs {missing}"):
        Augment({"vcg_rotation": 0.1}, RATE, leads)


def test_names_of_leads_are_checked_against_the_twelve_and_against_the_signal() -> None:
    with pytest.raises(RecordError, match="V7"):
        Augment({}, RATE, ("I", "V7"))
    augment = Augment({"gaussian_noise": 0.1}, RATE, ("i", "lead II"))
    assert augment.leads == ("I", "II")
    with pytest.raises(ValueError, match=r"3 leads.*made for 2"):
        augment(torch.zeros(1, 3, 10))
