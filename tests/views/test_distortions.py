"""Distortions do what they say, at the strength that they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from ssl_ecg.records import LEADS
from ssl_ecg.records.electrodes import DERIVATION
from ssl_ecg.signals import Signals
from ssl_ecg.views.augment import NOISE
from ssl_ecg.views.distortions import (
    DISTORTIONS,
    add_noise,
    lose_leads,
    record_at,
    shows,
    swap_electrodes,
)

RATE = 250.0


@pytest.fixture
def signals() -> Signals:
    """Four records of which one is half as long and one lacks V6; what was not recorded is 0."""
    torch.manual_seed(0)
    signal = torch.from_numpy(DERIVATION).float() @ torch.randn(4, 9, 1000)
    recorded, leads = torch.tensor([1000, 500, 1000, 1000]), torch.ones(4, 12, dtype=torch.bool)
    signal[1, :, 500:], signal[2, 11], leads[2, 11] = 0, 0, False
    return Signals(signal, recorded, leads)


def variance(signal: Tensor) -> float:
    return float((signal - signal.mean(-1, keepdim=True)).square().mean())


@pytest.mark.parametrize("kind", sorted(NOISE))
def test_noise_has_the_ratio_that_was_asked_for(signals: Signals, kind: str) -> None:
    torch.manual_seed(1)
    for decibels in (12.0, -6.0):
        noise = add_noise(kind, signals, decibels, RATE, LEADS).signal - signals.signal
        whole = 10 * np.log10(variance(signals.signal[0]) / variance(noise[0]))
        short = 10 * np.log10(variance(signals.signal[1, :, :500]) / variance(noise[1, :, :500]))
        assert (whole, short) == (pytest.approx(decibels, abs=0.01), pytest.approx(decibels, abs=0.01))
        assert not noise[1, :, 500:].any()
        assert not noise[2, 11].any()
        # What is drawn at electrodes obeys Einthoven.
        torch.testing.assert_close(noise[0, 2], noise[0, 1] - noise[0, 0], atol=1e-4, rtol=0)


def test_lost_leads_count_and_one_stays(signals: Signals) -> None:
    torch.manual_seed(2)
    lost = lose_leads(signals, 3)
    assert lost.leads.sum(1).tolist() == [9, 9, 8, 9]
    assert not lost.leads[2, 11]
    assert not lost.signal[~lost.leads].any()
    assert torch.equal(lost.signal[lost.leads], signals.signal[lost.leads])
    assert lose_leads(signals, 20).leads.sum(1).tolist() == [1, 1, 1, 1]


def test_exchanged_arms_and_chest_electrodes_look_as_in_the_textbook(signals: Signals) -> None:
    before, after = signals.signal[0], swap_electrodes(signals, "arms", LEADS).signal[0]
    lead = {name: place for place, name in enumerate(LEADS)}
    for now, was, sign in (("I", "I", -1), ("II", "III", 1), ("III", "II", 1), ("aVR", "aVL", 1), ("aVF", "aVF", 1)):
        torch.testing.assert_close(after[lead[now]], sign * before[lead[was]], atol=1e-4, rtol=0)
    torch.testing.assert_close(after[6:], before[6:], atol=1e-4, rtol=0)
    chest = swap_electrodes(signals, "V1 and V2", LEADS).signal
    torch.testing.assert_close(chest[0, 6:8], before[[7, 6]], atol=1e-4, rtol=0)
    assert torch.equal(chest[2], signals.signal[2]), "a record that lacks a lead stays"
    order = LEADS[::-1]
    flipped = swap_electrodes(signals._replace(signal=signals.signal.flip(1)), "arms", order).signal.flip(1)
    torch.testing.assert_close(flipped[0], after, atol=1e-4, rtol=0)


def test_a_lower_rate_leaves_nothing_from_half_of_it_on() -> None:
    time = torch.arange(1000) / RATE
    slow, fast = torch.sin(2 * torch.pi * 10 * time), torch.sin(2 * torch.pi * 30 * time)
    signals = Signals((slow + fast).expand(1, 12, -1), torch.tensor([1000]), torch.ones(1, 12, dtype=torch.bool))
    torch.testing.assert_close(record_at(signals, 50.0, RATE).signal[0, 0], slow, atol=1e-4, rtol=0)


def test_what_signals_cannot_show_is_known() -> None:
    assert {name for name in DISTORTIONS if not shows(name, 100.0, LEADS)} == {"mains"}
    assert not shows("swapped_electrodes", 500.0, ("I", "II"))
    assert shows("missing_leads", 500.0, ("x",))
    assert not shows("sampling_rate", 50.0, LEADS)
