from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_ecg.views import adjacent_segments, random_crop, recorded_samples


@given(count=st.integers(2, 7), length=st.integers(1, 40), rest=st.integers(0, 6), leads=st.sampled_from([1, 12]))
@settings(max_examples=40, deadline=None)
def test_adjacent_segments_are_slices(count: int, length: int, rest: int, leads: int) -> None:
    rest %= count
    signal = torch.randn(3, leads, count * length + rest)
    before = signal.clone()
    segments = adjacent_segments(signal, count)
    assert segments.shape == (count, 3, leads, length)
    for index, segment in enumerate(segments):
        assert torch.equal(segment, signal[..., index * length : (index + 1) * length])
    assert torch.equal(signal, before)


@pytest.mark.parametrize("count", [-1, 0, 1, 11])
def test_impossible_segments_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match=rf"count={count}.*10 samples"):
        adjacent_segments(torch.zeros(1, 12, 10), count)


@given(samples=st.integers(1, 60), more=st.integers(0, 60), seed=st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_random_crop_cuts_windows_of_all_leads_alike(samples: int, more: int, seed: int) -> None:
    batch, leads, length = 5, 3, samples + more
    # Lead l of record b at sample t holds b, l and t, so a window says where it came from.
    signal = (torch.arange(batch)[:, None, None] * 100 + torch.arange(leads)[:, None]) * 1000 + torch.arange(length) + 1
    before = signal.clone()
    torch.manual_seed(seed)
    windows = random_crop(signal, samples)
    torch.manual_seed(seed)
    assert torch.equal(windows, random_crop(signal, samples))
    assert windows.dtype == signal.dtype
    assert torch.equal(signal, before)
    for b in range(batch):
        start = int(windows[b, 0, 0] - signal[b, 0, 0])
        assert 0 <= start <= more
        assert torch.equal(windows[b], signal[b, :, start : start + samples])


def test_every_place_is_drawn_and_each_record_has_its_own() -> None:
    torch.manual_seed(0)
    starts = random_crop(torch.arange(1, 13).expand(600, 1, 12), 10)[:, 0, 0]
    counts = torch.bincount(starts - 1, minlength=3)
    assert len(counts) == 3
    assert (counts > 150).all()


def test_crops_come_from_what_was_recorded() -> None:
    signal = torch.arange(1.0, 13.0).repeat(900, 2, 1)
    signal[::3, :, 8:] = 0
    signal[1::3, :, 3:] = 0  # shorter than a crop
    assert recorded_samples(signal)[:3].tolist() == [8, 3, 12]
    assert recorded_samples(torch.zeros(1, 2, 5)).tolist() == [0]
    torch.manual_seed(0)
    starts = random_crop(signal, 5)[:, 0, 0].view(-1, 3) - 1
    assert sorted(set(starts[:, 0].tolist())) == [0, 1, 2, 3]
    assert set(starts[:, 1].tolist()) == {0}
    assert sorted(set(starts[:, 2].tolist())) == list(range(8))


@pytest.mark.parametrize("samples", [-1, 0, 11])
def test_an_impossible_crop_is_refused(samples: int) -> None:
    with pytest.raises(ValueError, match=rf"samples={samples}.*10"):
        random_crop(torch.zeros(1, 12, 10), samples)
