from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from ssl_ecg.records import LEADS
from ssl_ecg.signals import SignalSettings
from ssl_ecg.signals.filters import bandpass
from ssl_ecg.synthetic.simulator import AGES, AXES, CONDITIONS, SimulatedEcgs, simulate
from ssl_ecg.synthetic.simulator.conditions import draw_plan
from ssl_ecg.synthetic.simulator.recording import draw_response

P, Q, R, S, ST, T = range(6)
FINDINGS = [name for axis in AXES.values() for name in axis]


def drawn(*conditions: str, count: int = 96, seed: int = 0, **options: object) -> SimulatedEcgs:
    torch.manual_seed(seed)
    return simulate(count, conditions=conditions, **options)  # type: ignore[arg-type]


def of(ecgs: SimulatedEcgs, lead: str, wave: int) -> Tensor:
    return ecgs.amplitudes[:, LEADS.index(lead), wave]


def share(inside: Tensor) -> float:
    return float(inside.float().mean())


def shown(ecgs: SimulatedEcgs, name: str) -> Tensor:
    return ecgs.conditions[:, CONDITIONS.index(name)]


def sokolow(ecgs: SimulatedEcgs) -> Tensor:
    deepest = torch.minimum(of(ecgs, "V1", S), of(ecgs, "V1", Q))
    return torch.maximum(of(ecgs, "V5", R), of(ecgs, "V6", R)) - deepest


def limb_voltage(ecgs: SimulatedEcgs) -> Tensor:
    waves = ecgs.amplitudes[:, :6]
    return (waves[..., R] - torch.minimum(waves[..., Q], waves[..., S])).amax(1)


def test_a_heart_without_findings_is_normal() -> None:
    ecgs = drawn(count=256)
    pr, qrs, qt = ecgs.intervals.unbind(1)
    assert bool(((pr >= 0.11) & (pr < 0.2)).all())
    assert bool(((qrs > 0.07) & (qrs < 0.105)).all())
    # Bazett's QTc of most of the healthy lies between 350 and 450 ms (Surawicz et al., Circulation 2009).
    corrected = qt * (ecgs.heart_rate / 60).sqrt()
    assert share((corrected > 0.35) & (corrected < 0.46)) > 0.9
    assert bool(((ecgs.heart_rate > 52) & (ecgs.heart_rate < 110)).all())
    assert share((ecgs.axis > -30) & (ecgs.axis < 100)) > 0.85
    assert share(of(ecgs, "II", P) > 0.04) > 0.95
    assert share(of(ecgs, "II", T) > 0.05) > 0.9
    assert float(sokolow(ecgs).max()) < 3.7
    assert share(limb_voltage(ecgs) > 0.5) > 0.95
    assert share(of(ecgs, "V1", R) < of(ecgs, "V4", R)) > 0.9  # R grows from V1 to V4
    assert share(of(ecgs, "aVR", R) < 0.5) > 0.9


@pytest.mark.parametrize(
    ("name", "lower", "upper"),
    [
        ("sinus_bradycardia", 30, 62),
        ("sinus_tachycardia", 95, 170),
        ("atrial_fibrillation", 40, 160),
        ("junctional_rhythm", 30, 105),
        ("supraventricular_tachycardia", 130, 225),
        ("third_degree_av_block", 20, 60),
        ("ventricular_pacing", 50, 105),
    ],
)
def test_rates(name: str, lower: float, upper: float) -> None:
    rate = drawn(name).heart_rate
    assert bool(((rate > lower) & (rate < upper)).all())


@pytest.mark.parametrize(
    ("name", "lower", "upper"),
    [
        ("left_bundle_branch_block", 0.12, 0.19),
        ("right_bundle_branch_block", 0.12, 0.18),
        ("intraventricular_conduction_delay", 0.12, 0.18),
        ("ventricular_pacing", 0.13, 0.20),
        ("incomplete_left_bundle_branch_block", 0.10, 0.121),
        ("incomplete_right_bundle_branch_block", 0.10, 0.121),
        ("wolff_parkinson_white", 0.11, 0.16),
        ("left_anterior_fascicular_block", 0.07, 0.12),
    ],
)
def test_qrs_durations(name: str, lower: float, upper: float) -> None:
    qrs = drawn(name).intervals[:, 1]
    assert bool(((qrs > lower) & (qrs < upper)).all())


@pytest.mark.parametrize(
    ("name", "lower", "upper"), [("first_degree_av_block", 0.2, 0.4), ("wolff_parkinson_white", 0.06, 0.12)]
)
def test_pr(name: str, lower: float, upper: float) -> None:
    pr = drawn(name).intervals[:, 0]
    assert bool(((pr > lower) & (pr < upper)).all())


@pytest.mark.parametrize(("name", "lower", "upper"), [("long_qt", 0.46, 0.65), ("short_qt", 0.25, 0.36)])
def test_corrected_qt(name: str, lower: float, upper: float) -> None:
    ecgs = drawn(name)
    corrected = ecgs.intervals[:, 2] / (60 / ecgs.heart_rate) ** (1 / 3)  # Fridericia
    assert share((corrected > lower) & (corrected < upper)) > 0.9


@pytest.mark.parametrize(
    ("name", "lower", "upper"),
    [("left_anterior_fascicular_block", -90, -30), ("left_posterior_fascicular_block", 80, 150)],
)
def test_fascicular_blocks_turn_the_axis(name: str, lower: float, upper: float) -> None:
    axis = drawn(name).axis
    assert share((axis > lower) & (axis < upper)) > 0.95


def test_axis_is_that_of_the_area_of_the_leads() -> None:
    settings = SignalSettings(sampling_rate=500, band=(0.05, 200))
    torch.manual_seed(3)
    ecgs = simulate(32, settings, conditions=["sinus_bradycardia"], noise=False)
    one, foot = ecgs.amplitudes[:, 0], ecgs.amplitudes[:, LEADS.index("aVF")]
    net = [lead[:, Q] + lead[:, R] + lead[:, S] for lead in (one, foot)]
    by_height = torch.rad2deg(torch.atan2(2 / math.sqrt(3) * net[1], net[0]))
    turn = (by_height - ecgs.axis + 180) % 360 - 180
    assert float(turn.abs().median()) < 15


def test_irregular_as_fibrillation_is() -> None:
    fibrillation = drawn("atrial_fibrillation")
    # The coefficient of variation of RR in AF is about .1 to .4.
    assert share((fibrillation.rr_variation > 0.1) & (fibrillation.rr_variation < 0.5)) > 0.9
    assert float(fibrillation.rr_variation.max()) > 0.28
    assert bool(fibrillation.events[:, 0].isnan().all())
    assert float(fibrillation.amplitudes[..., P].abs().max()) == 0
    assert share(drawn("sinus_bradycardia").rr_variation < 0.16) > 0.98


@pytest.mark.parametrize("name", ["mobitz_1_av_block", "mobitz_2_av_block", "third_degree_av_block"])
def test_more_p_waves_than_beats(name: str) -> None:
    ecgs = drawn(name)
    p, r, _ = ecgs.events.isfinite().sum(2).unbind(1)
    assert bool((p > r).all())


@pytest.mark.parametrize("name", list(AXES["ectopy"]))
def test_early_beats_come_early_and_pause(name: str) -> None:
    ecgs = drawn(name)
    r = ecgs.events[:, 1].nan_to_num(math.inf).sort(1)[0]
    intervals = r.diff(dim=1)
    typical = intervals.masked_fill(~intervals.isfinite(), math.nan).nanmedian(1, keepdim=True)[0]
    assert share((intervals < 0.87 * typical).any(1)) > 0.7


def test_hypertrophy_by_its_voltage() -> None:
    voltage = sokolow(drawn("left_ventricular_hypertrophy"))
    assert share((voltage > 3.5) & (voltage < 5.4)) > 0.95
    assert float(voltage.mean()) < 4.6
    right = drawn("right_ventricular_hypertrophy")
    assert share(of(right, "V1", R) > 0.6) > 0.9
    assert share(right.axis > 80) > 0.9


def test_low_voltage_in_all_limb_leads() -> None:
    assert share(limb_voltage(drawn("low_voltage")) < 0.5) > 0.97


def test_enlarged_atria() -> None:
    assert share(of(drawn("right_atrial_enlargement"), "II", P) > 0.15) > 0.9
    assert float(of(drawn("right_atrial_enlargement"), "II", P).median()) > 0.25
    assert share(of(drawn("left_atrial_enlargement"), "V1", P) < -0.04) > 0.9


WALLS = {
    "anteroseptal_infarction": ("V1", "V2", "V3"),
    "anterior_infarction": ("V2", "V3", "V4"),
    "lateral_infarction": ("I", "aVL", "V6"),
    "inferior_infarction": ("II", "III", "aVF"),
}


@pytest.mark.parametrize(("wall", "leads"), WALLS.items())
def test_infarctions_by_wall_and_age(wall: str, leads: tuple[str, ...]) -> None:
    acute, recent, old = (drawn(wall, age) for age in AGES)
    normal = drawn()
    for lead in leads:
        assert float(of(acute, lead, ST).median()) > 0.1
        assert float(of(old, lead, ST).abs().median()) < 0.08
        assert float(of(old, lead, Q).median()) < -0.2
        assert float(of(old, lead, R).median()) < 0.7 * float(of(normal, lead, R).median())
        assert float(of(recent, lead, T).median()) < 0 < float(of(acute, lead, T).median())
    assert bool((shown(recent, "recent_infarction") & ~shown(recent, "acute_infarction")).all())


def test_a_posterior_infarction_is_seen_from_the_other_side() -> None:
    acute = drawn("posterior_infarction", "acute_infarction")
    assert float(of(acute, "V2", ST).median()) < -0.1
    assert float(of(acute, "V1", R).median()) > 1.5 * float(of(drawn(), "V1", R).median())


def test_repolarisation() -> None:
    lateral = ("V4", "V5", "V6")
    assert all(float(of(drawn("st_depression"), lead, ST).median()) < -0.05 for lead in lateral)
    assert all(float(of(drawn("digitalis_effect"), lead, ST).median()) < 0 for lead in lateral)
    assert share((drawn("st_elevation").amplitudes[..., ST] > 0.1).sum(1) >= 2) > 0.9
    normal, tall, flat = (drawn(name) if name else drawn() for name in ("", "tall_t", "t_flattening"))
    height = [float(ecgs.amplitudes[..., T].abs().amax(1).median()) for ecgs in (flat, normal, tall)]
    assert 3 * height[0] < height[1] < height[2] / 1.7
    inverted = drawn("t_inversion").amplitudes[:, [0, 1, 2, 4, 5, 7, 8, 9, 10, 11], T]
    assert share((inverted < -0.05).sum(1) >= 2) > 0.8


def test_swapped_electrodes_swap_leads() -> None:
    """The same hearts with right electrodes and wrong ones; the seed is that of both."""
    right = drawn(count=16, noise=False).signal
    arms = drawn("arms_swapped", count=16, noise=False).signal
    torch.testing.assert_close(arms[:, 0], -right[:, 0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(arms[:, 1], right[:, 2], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(arms[:, 6:], right[:, 6:], atol=1e-4, rtol=1e-4)
    legs = drawn("left_arm_and_leg_swapped", count=16, noise=False).signal
    torch.testing.assert_close(legs[:, 2], -right[:, 2], atol=1e-4, rtol=1e-4)
    chest = drawn("chest_electrodes_swapped", count=16, noise=False).signal
    assert bool(((chest - right)[:, 6:].abs().amax(2) > 1e-3).sum(1).eq(2).all())


def test_einthoven_holds_for_heart_and_noise() -> None:
    torch.manual_seed(0)
    one, two, three, right, left, foot = simulate(64).signal[:, :6].unbind(1)
    torch.testing.assert_close(three, two - one, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(right, -(one + two) / 2, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(left, (one - three) / 2, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(foot, (two + three) / 2, atol=1e-4, rtol=1e-4)


def test_r_events_are_where_the_dipole_is_largest() -> None:
    ecgs = drawn(count=16, noise=False)
    energy = ecgs.signal.square().sum(1)
    for record, events in zip(energy, ecgs.events[:, 1]):
        for event in events[events.isfinite()]:
            sample = round(float(event) * 100)
            near = record[max(0, sample - 6) : sample + 7]
            assert float(near.max()) > 0.5 * float(record.max())


@pytest.mark.slow
def test_every_finding_can_be_asked_for_and_chance_brings_each() -> None:
    for name in FINDINGS:
        ecgs = drawn(name, count=2)
        assert bool(ecgs.signal.isfinite().all())
        assert bool(shown(ecgs, name).all())
    torch.manual_seed(0)
    frequency = simulate(4000, SignalSettings(duration=2, min_duration=2), noise=False).conditions.float().mean(0)
    assert float(frequency.min()) > 0.005
    assert float(frequency[:-7].max()) < 0.2


def test_contradictions_are_left_out() -> None:
    torch.manual_seed(1)
    plan = draw_plan(4000)
    assert not bool((plan.has("atrial_fibrillation") & plan.any("av_conduction")).any())
    assert not bool((plan.has("ventricular_pacing") & plan.any("infarction")).any())
    assert share(~torch.stack([plan.any(axis) for axis in AXES]).any(0)) > 0.14


@pytest.mark.parametrize("names", [["atrial_fibrillation", "atrial_flutter"], ["no_such_thing"]])
def test_what_cannot_be_is_refused(names: list[str]) -> None:
    with pytest.raises(ValueError, match="conditions="):
        simulate(2, conditions=names)


def test_the_same_seed_draws_the_same() -> None:
    torch.manual_seed(5)
    one = simulate(8)
    torch.manual_seed(5)
    other = simulate(8)
    assert all(
        torch.equal(a.nan_to_num(-1.0), b.nan_to_num(-1.0)) for a, b in zip(vars(one).values(), vars(other).values())
    )


@pytest.mark.parametrize("rate", [100.0, 250.0, 500.0])
def test_any_rate_leads_and_length(rate: float) -> None:
    settings = SignalSettings(leads=("II", "V5"), sampling_rate=rate, duration=5)
    torch.manual_seed(0)
    ecgs = simulate(3, settings, samples=round(3 * rate))
    assert ecgs.signal.shape == (3, 2, round(3 * rate))
    assert ecgs.amplitudes.shape == (3, 2, 6)
    assert float(ecgs.events.nan_to_num(0.0).max()) < 3


def test_the_filter_is_that_of_the_archive() -> None:
    settings = SignalSettings()
    torch.manual_seed(0)
    response = draw_response(4, 4000, settings, torch.device("cpu")).abs()
    impulse = np.zeros(4000)
    impulse[2000] = 1
    passed = np.abs(np.fft.rfft(bandpass(impulse, settings.sampling_rate, settings.band)))
    frequency = np.fft.rfftfreq(4000, 1 / settings.sampling_rate)
    middle = (frequency > 3) & (frequency < 15)
    np.testing.assert_allclose(response[:, middle].numpy(), np.tile(passed[middle], (4, 1)), rtol=0.05)
    assert np.all(response.numpy() <= passed + 0.02)


@pytest.mark.slow
def test_fast_enough_to_train_on() -> None:
    import time

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    simulate(128)
    begun = time.perf_counter()
    for _ in range(4):
        simulate(128)
    seconds = time.perf_counter() - begun
    torch.set_num_threads(threads)
    assert 512 / seconds > 200  # a tenth of what a core of a server draws: a loop over ECGs would be slower
