from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from ssl_ecg.synthetic import draw_ecgs
from ssl_ecg.views import find_r_peaks
from ssl_ecg.views.semantic import change_between_beats, semantic_views, split_join

BEATS = [20, 100, 170, 260, 330, 400, 470]
CUTS = [a + -(-3 * (b - a) // 5) for a, b in pairwise(BEATS)]


def marked(samples: int = 500) -> tuple[Tensor, Tensor]:
    """A ramp, of which every sample tells where it came from, and its beats."""
    beats = torch.zeros(1, samples, dtype=torch.bool)
    beats[0, BEATS] = True
    return torch.arange(float(samples)).repeat(1, 2, 1), beats


def test_beats_stay_whole_and_come_in_another_order() -> None:
    signal, beats = marked()
    orders = set()
    for seed in range(20):
        torch.manual_seed(seed)
        joined = split_join(signal, beats, torch.tensor([500]), fade=0)[0]
        assert torch.equal(joined[0], joined[1])
        order = joined[0].long().tolist()
        assert sorted(order) == list(range(500))  # no sample is lost
        pieces = [list(range(a, b)) for a, b in pairwise(CUTS)]
        assert order[: CUTS[0]] == list(range(CUTS[0]))
        assert order[CUTS[-1] :] == list(range(CUTS[-1], 500))
        found, place = [], CUTS[0]
        while place < CUTS[-1]:
            (piece,) = [index for index, samples in enumerate(pieces) if samples[0] == order[place]]
            assert order[place : place + len(pieces[piece])] == pieces[piece]
            found.append(piece)
            place += len(pieces[piece])
        orders.add(tuple(found))
    assert len(orders) > 10


def test_a_join_is_a_short_cross_fade_by_hand() -> None:
    signal, beats = marked()
    torch.manual_seed(1)
    plain = split_join(signal, beats, torch.tensor([500]), fade=0)[0, 0]
    torch.manual_seed(1)
    faded = split_join(signal, beats, torch.tensor([500]), fade=3)[0, 0]
    joins = [p for p in range(1, 500) if plain[p] != plain[p - 1] + 1]
    assert joins
    expected = plain.clone()
    for join in joins:
        for step in range(3):
            going_on = plain[join - 1] + 1 + step
            expected[join + step] = going_on + (plain[join + step] - going_on) * (step + 1) / 4
    torch.testing.assert_close(faded, expected)


def test_what_was_not_recorded_stays_at_the_end_and_is_never_faded_in() -> None:
    signal, beats = marked()
    signal[..., 450:] = -1000
    beats[:, 450:] = False
    joined = split_join(signal, beats, torch.tensor([450]), fade=4)
    assert (joined[..., :450] >= 0).all()
    assert (joined[..., 450:] == -1000).all()


@pytest.mark.parametrize("places", [[], [100], [100, 200], [100, 200, 300]])
def test_few_beats_stay_where_they_are(places: list[int]) -> None:
    signal, beats = torch.randn(1, 2, 400), torch.zeros(1, 400, dtype=torch.bool)
    beats[0, places] = True
    assert torch.equal(split_join(signal, beats, torch.tensor([400]), 4), signal)


def test_changes_are_small_at_beats_and_large_between_them() -> None:
    torch.manual_seed(0)
    signal, beats = torch.randn(400, 1, 500), torch.zeros(400, 500, dtype=torch.bool)
    beats[:, BEATS] = True
    change = (change_between_beats(signal, beats, 100.0) - signal).square().mean((0, 1)).sqrt()
    assert change[BEATS].max() == 0
    assert change[[b + 2 for b in BEATS]].max() < 0.2 * change[[140, 215, 300]].min()
    noisy = change_between_beats(torch.zeros(400, 1, 500), beats, 100.0).abs().amax((1, 2)) > 0
    assert 0.4 < noisy.float().mean() < 0.6  # the others are smoothed


@pytest.mark.slow
def test_real_looking_beats_keep_their_shape_and_rate() -> None:
    signal = torch.from_numpy(draw_ecgs(16, seed=3).signal).float()
    whole = torch.full((16,), signal.shape[2]), torch.ones(signal.shape[:2], dtype=torch.bool)
    torch.manual_seed(0)
    joined, changed = semantic_views(signal, *whole, 100.0)
    count = find_r_peaks(signal, 100.0).sum(1)
    assert (find_r_peaks(joined, 100.0).sum(1) - count).abs().float().mean() < 0.5
    assert (find_r_peaks(changed, 100.0).sum(1) - count).abs().float().mean() < 0.5
    assert (joined - signal).abs().amax((1, 2)).gt(0.1).float().mean() > 0.8
    kept = torch.arange(16) < 8
    in_order, _ = semantic_views(signal, *whole, 100.0, kept)
    assert torch.equal(in_order[:8], signal[:8])
    assert not torch.equal(in_order[8:], signal[8:])
