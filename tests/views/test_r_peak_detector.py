from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import wfdb
from wfdb.processing import xqrs_detect

from ssl_ecg.signals.filters import bandpass, resample
from ssl_ecg.synthetic import draw_ecgs
from ssl_ecg.views import find_r_peaks


def spikes(places: list[int], samples: int = 500, leads: int = 2) -> torch.Tensor:
    signal = torch.zeros(1, leads, samples)
    for place in places:
        signal[..., place - 1 : place + 2] += torch.tensor([0.5, 1.0, 0.5])
    return signal


def test_the_beats_of_a_batch_are_those_of_each_record() -> None:
    places = [[50, 150, 250, 350, 450], [30, 110, 190, 270, 350, 430]]
    signal = torch.cat([spikes(each) for each in places])
    found = find_r_peaks(signal, 100.0)
    for record, each in enumerate(places):
        where = found[record].nonzero().flatten()
        assert (where - torch.tensor(each)).abs().max() <= 4
        assert torch.equal(find_r_peaks(signal[record : record + 1], 100.0)[0], found[record])


def test_small_waves_and_what_was_not_recorded_are_no_beats() -> None:
    signal = spikes([50, 150, 250]) + 0.2 * spikes([90, 190, 290])
    signal[..., 320:] = 5  # a jump where the record ends, and what follows
    signal[..., 400] = -9
    found = find_r_peaks(signal, 100.0, recorded=torch.tensor([320]))
    assert found.sum() == 3
    other = signal.clone()
    other[0, 1] = 30 * torch.randn(500)
    leads = torch.tensor([[True, False]])
    assert torch.equal(find_r_peaks(other, 100.0, torch.tensor([320]), leads), found)


@pytest.mark.parametrize("samples", [0, 1, 2, 5, 40])
def test_nothing_is_found_in_nothing(samples: int) -> None:
    assert not find_r_peaks(torch.zeros(3, 2, samples), 100.0).any()
    assert find_r_peaks(torch.randn(3, 2, samples), 100.0).shape == (3, samples)
    assert not find_r_peaks(torch.randn(2, 2, 40), 100.0, recorded=torch.tensor([0, 0])).any()


@pytest.mark.slow
def test_synthetic_beats_are_as_many_as_the_rate_says_whatever_the_scale_of_a_lead() -> None:
    ecgs = draw_ecgs(40, seed=5)
    signal = torch.from_numpy(ecgs.signal).float()
    for given in (signal, (signal - signal.mean(2, keepdim=True)) / signal.std(2, keepdim=True)):
        count = find_r_peaks(given, 100.0).sum(1).numpy()
        assert np.abs(count - ecgs.truth["heart_rate"] / 6).mean() < 0.6


@pytest.mark.slow
def test_beats_of_real_ecgs_are_those_of_another_detector(ecg_data: Path) -> None:
    shares = []
    for header in sorted((ecg_data / "ludb").rglob("*.hea"))[::10]:
        record = wfdb.rdrecord(str(header.with_suffix("")))
        signal = bandpass(record.p_signal.T, record.fs, (0.5, 40))
        true = xqrs_detect(signal[1], record.fs, verbose=False) / record.fs
        resampled = torch.from_numpy(resample(signal, record.fs, 100).copy()).float()
        found = find_r_peaks(resampled[None], 100.0)[0].nonzero().flatten().numpy() / 100
        true, found = (beats[(beats > 0.5) & (beats < 9.5)] for beats in (true, found))
        if len(true) > 3:  # the other detector finds nothing in some short records
            near = np.abs(found[:, None] - true[None]) <= 0.1
            shares.append([near.any(0).mean(), near.any(1).mean()])
    assert len(shares) >= 10
    assert np.mean(shares, axis=0).min() > 0.99
