from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_ecg.views import adjacent_segments, random_crop


@given(count=st.integers(2, 7), length=st.integers(1, 40), rest=st.integers(0, 6), leads=st.sampled_from([1, 12]))
@settings(max_examples=40, deadline=None)
def test_adjacent_segments_are_slices(count: int, length: int, rest: int, leads: int) -> None:
    rest %= count
    samples = count * length + rest
    signal = torch.randn(3, leads, samples)
    before = signal.clone()
    segments, recorded = adjacent_segments(signal, torch.full((3,), samples), count)
    assert segments.shape == (count, 3, leads, length)
    assert torch.equal(recorded, torch.full((count, 3), length))
    for index, segment in enumerate(segments):
        assert torch.equal(segment, signal[..., index * length : (index + 1) * length])
    assert torch.equal(signal, before)


@given(count=st.integers(2, 5), length=st.integers(1, 20), seed=st.integers(0, 2**16))
@settings(max_examples=40, deadline=None)
def test_segments_share_what_was_recorded(count: int, length: int, seed: int) -> None:
    """Every sample holds its own number, and what was not recorded -1: no segment may show that."""
    samples = count * length
    recorded = torch.randint(count, samples + 1, (6,), generator=torch.Generator().manual_seed(seed))
    time = torch.arange(1, samples + 1)
    signal = time.where(time <= recorded[:, None], -1)[:, None].expand(-1, 2, -1)
    segments, shares = adjacent_segments(signal, recorded, count)
    for b, total in enumerate(recorded.tolist()):
        share = total // count
        assert shares[:, b].tolist() == [share] * count
        assert not segments[:, b, :, share:].any()
        joined = segments[:, b, 0, :share].flatten()
        assert torch.equal(joined, time[: count * share])


@pytest.mark.parametrize("count", [-1, 0, 1, 11])
def test_impossible_segments_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match=rf"count={count}.*10 samples"):
        adjacent_segments(torch.zeros(1, 12, 10), torch.tensor([10]), count)


@given(samples=st.integers(1, 60), more=st.integers(0, 60), seed=st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_random_crop_cuts_windows_of_all_leads_alike(samples: int, more: int, seed: int) -> None:
    batch, leads, length = 5, 3, samples + more
    whole = torch.full((batch,), length)
    # Lead l of record b at sample t holds b, l and t, so a window says where it came from.
    signal = (torch.arange(batch)[:, None, None] * 100 + torch.arange(leads)[:, None]) * 1000 + torch.arange(length) + 1
    before = signal.clone()
    torch.manual_seed(seed)
    windows, recorded = random_crop(signal, whole, samples)
    torch.manual_seed(seed)
    assert torch.equal(windows, random_crop(signal, whole, samples)[0])
    assert windows.dtype == signal.dtype
    assert torch.equal(signal, before)
    assert recorded.tolist() == [samples] * batch
    for b in range(batch):
        start = int(windows[b, 0, 0] - signal[b, 0, 0])
        assert 0 <= start <= more
        assert torch.equal(windows[b], signal[b, :, start : start + samples])


def test_every_place_is_drawn_and_each_record_has_its_own() -> None:
    torch.manual_seed(0)
    starts = random_crop(torch.arange(1, 13).expand(600, 1, 12), torch.full((600,), 12), 10)[0][:, 0, 0]
    counts = torch.bincount(starts - 1, minlength=3)
    assert len(counts) == 3
    assert (counts > 150).all()


def test_crops_never_reach_into_what_was_not_recorded() -> None:
    """Of 12, 8 and 3 samples the last is shorter than a crop; a flat end that was recorded is cut like any other."""
    recorded = torch.tensor([8, 3, 12]).repeat(300)
    signal = torch.arange(1.0, 13.0).repeat(900, 2, 1)
    signal[2::3, :, 6:] = 0
    torch.manual_seed(0)
    windows, left = random_crop(signal, recorded, 5)
    assert left.view(-1, 3).unique(dim=0).tolist() == [[5, 3, 5]]
    assert (windows[::3] > 0).all()
    starts = windows[:, 0, 0].view(-1, 3) - 1
    assert sorted(set(starts[:, 0].tolist())) == [0, 1, 2, 3]
    assert set(starts[:, 1].tolist()) == {0}
    flat = (windows[2::3, 0] == 0).sum(1)
    assert sorted(set(flat.tolist())) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("samples", [-1, 0, 11])
def test_an_impossible_crop_is_refused(samples: int) -> None:
    with pytest.raises(ValueError, match=rf"samples={samples}.*10"):
        random_crop(torch.zeros(1, 12, 10), torch.tensor([10]), samples)
