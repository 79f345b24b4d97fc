from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ssl_ecg.views import (
    Mask,
    block_mask,
    grid_mask,
    keep_smallest,
    random_mask,
    restore_tokens,
    take_tokens,
    visible_count,
)


@pytest.mark.parametrize(
    ("tokens", "ratio", "expected"),
    [(100, 0.75, 25), (50, 0.75, 12), (10, 0.9, 1), (100, 0.9, 10), (50, 0.5, 25), (7, 0.0, 7), (3, 0.9, 1)],
)
def test_counts_are_those_of_the_definition(tokens: int, ratio: float, expected: int) -> None:
    assert visible_count(tokens, ratio) == expected
    mask = random_mask(5, tokens, ratio)
    assert mask.visible.shape == (5, expected)
    assert mask.masked.sum(1).tolist() == [tokens - expected] * 5


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 6), st.integers(2, 40), st.floats(0.5, 0.95), st.integers(0, 2**31))
def test_restoring_inverts_the_shuffle(batch: int, tokens: int, ratio: float, seed: int) -> None:
    torch.manual_seed(seed)
    values = torch.randn(batch, tokens, 3)
    mask = random_mask(batch, tokens, ratio)
    fill = torch.tensor([7.0, 8.0, 9.0])
    restored = restore_tokens(take_tokens(values, mask.visible), fill, mask.restore)
    assert torch.equal(restored[~mask.masked], values[~mask.masked])
    assert torch.equal(restored[mask.masked], fill.expand(int(mask.masked.sum()), 3))


def test_visible_positions_are_those_not_masked() -> None:
    mask = random_mask(16, 30, 0.6)
    shown = torch.zeros(16, 30, dtype=torch.bool).scatter(1, mask.visible, True)
    assert torch.equal(shown, ~mask.masked)


def test_masks_are_independent_per_record_and_uniform_over_positions() -> None:
    torch.manual_seed(0)
    records, tokens, kept = 20000, 20, 5
    masked = random_mask(records, tokens, 0.75).masked
    assert len(masked[:100].unique(dim=0)) > 95
    shown = (~masked).float()
    # Under the hypothesis every position is shown with p = 1/4: five standard deviations of the mean of 20,000 draws.
    deviation = (0.25 * 0.75 / records) ** 0.5
    assert (shown.mean(0) - kept / tokens).abs().max() < 5 * deviation
    # Two positions of one record are shown together as in drawing without replacement.
    together = (shown.T @ shown / records)[~torch.eye(tokens, dtype=torch.bool)]
    expected = kept / tokens * (kept - 1) / (tokens - 1)
    assert (together - expected).abs().max() < 5 * (expected * (1 - expected) / records) ** 0.5


def test_the_smallest_draws_stay_visible() -> None:
    mask = keep_smallest(torch.tensor([[0.3, 0.1, 0.9, 0.2]]), 2)
    assert mask.visible.tolist() == [[1, 3]]
    assert mask.masked.tolist() == [[True, False, True, False]]


@pytest.mark.parametrize("ratio", [-0.1, 1.0, 1.5])
def test_a_ratio_that_hides_all_is_refused(ratio: float) -> None:
    with pytest.raises(ValueError, match="ratio="):
        random_mask(2, 10, ratio)


def test_random_grid_hides_as_many_in_every_lead_each_on_its_own() -> None:
    torch.manual_seed(0)
    mask = grid_mask("random", 400, 3, 8, 0.75)
    assert mask.visible.shape == (400, 6)
    hidden = mask.masked.unflatten(1, (3, 8))
    assert (hidden.sum(2) == 6).all()
    together = (~hidden[:, 0] & ~hidden[:, 1]).float().sum(1).mean()
    assert together == pytest.approx(2 * 2 / 8, abs=0.15)  # drawn independently; the same draw would give 2
    assert (~hidden).float().mean((0, 1)).sub(0.25).abs().max() < 0.07


def test_time_grid_hides_the_same_patches_of_all_leads() -> None:
    torch.manual_seed(0)
    hidden = grid_mask("time", 50, 3, 8, 0.75).masked.unflatten(1, (3, 8))
    assert torch.equal(hidden, hidden[:, :1].expand(-1, 3, -1))
    assert (hidden.sum(2) == 6).all()
    assert len(hidden[:, 0].unique(dim=0)) > 10


def test_lead_grid_hides_whole_leads() -> None:
    torch.manual_seed(0)
    hidden = grid_mask("lead", 50, 12, 8, 0.75).masked.unflatten(1, (12, 8))
    assert torch.equal(hidden, hidden[..., :1].expand(-1, -1, 8))
    assert (hidden[..., 0].sum(1) == 9).all()
    assert len(hidden[..., 0].unique(dim=0)) > 20


@pytest.mark.parametrize("kind", ["random", "time", "lead"])
def test_a_grid_is_a_mask_like_any_other(kind: str) -> None:
    torch.manual_seed(0)
    values = torch.randn(5, 24, 2)
    mask = grid_mask(kind, 5, 4, 6, 0.5)
    assert not mask.masked.gather(1, mask.visible).any()
    restored = restore_tokens(take_tokens(values, mask.visible), torch.zeros(2), mask.restore)
    assert torch.equal(restored, values * ~mask.masked[..., None])
    assert not grid_mask(kind, 2, 4, 6, 0.0).masked.any()


def test_an_unknown_grid_is_refused() -> None:
    with pytest.raises(ValueError, match=r"mask='block'.*random, time, lead"):
        grid_mask("block", 2, 3, 4, 0.5)
    with pytest.raises(ValueError, match="ratio="):
        grid_mask("time", 2, 3, 4, 1.0)


@settings(deadline=None, max_examples=50)
@given(st.integers(4, 60), st.floats(0.3, 0.9), st.integers(1, 6), st.integers(0, 2**31))
def test_blocks_hide_exactly_as_many_in_runs_of_at_least_their_length(
    tokens: int, ratio: float, blocks: int, seed: int
) -> None:
    torch.manual_seed(seed)
    shown = visible_count(tokens, ratio)
    hidden = tokens - shown
    blocks = min(blocks, hidden)
    mask = block_mask(7, tokens, ratio, blocks)
    assert mask.visible.shape == (7, shown)
    assert not mask.masked.gather(1, mask.visible).any()
    assert mask.masked.sum(1).tolist() == [hidden] * 7
    for row in mask.masked.tolist():
        runs = [len(run) for run in "".join("x" if cell else " " for cell in row).split()]
        assert len(runs) <= blocks
        assert min(runs) >= hidden // blocks


def test_blocks_lie_anywhere_and_differ_between_records() -> None:
    torch.manual_seed(0)
    masked = block_mask(4000, 10, 0.4, 2).masked  # 2 blocks of 2 among 6 visible: 8 * 7 / 2 orders
    assert len(masked.unique(dim=0)) == 28
    # The first token is hidden where a block comes first of 8: 2 / 8; five standard deviations.
    assert masked[:, 0].float().mean() == pytest.approx(0.25, abs=5 * (0.25 * 0.75 / 4000) ** 0.5)


@pytest.mark.parametrize("blocks", [0, 6])
def test_blocks_that_cannot_be_are_refused(blocks: int) -> None:
    with pytest.raises(ValueError, match=f"blocks={blocks}: .*5 of 10 tokens"):
        block_mask(2, 10, 0.5, blocks)


@pytest.mark.parametrize(("tokens", "ratio"), [(1, 0.75), (10, 1e-9)])
def test_a_mask_that_hides_nothing_is_refused(tokens: int, ratio: float) -> None:
    with pytest.raises(ValueError, match=f"hides none of {tokens} tokens"):
        random_mask(2, tokens, ratio)


def kinds(batch: int, leads: int, patches: int, ratio: float, present: Tensor | None) -> dict[str, Mask]:
    """Every kind of mask, each from the same draws."""
    made = {}
    for kind in ("random", "time", "lead"):
        torch.manual_seed(1)
        made[kind] = grid_mask(kind, batch, leads, patches, ratio, present=present)
    torch.manual_seed(1)
    made["tokens"] = random_mask(batch, leads * patches, ratio, present=present)
    torch.manual_seed(1)
    made["blocks"] = block_mask(batch, leads * patches, ratio, 3, present=present)
    return made


def test_where_everything_was_recorded_masks_are_what_they_are_without_saying_so() -> None:
    without = kinds(50, 4, 12, 0.75, None)
    for kind, mask in kinds(50, 4, 12, 0.75, torch.ones(50, 48, dtype=torch.bool)).items():
        assert torch.equal(mask.masked, without[kind].masked), kind


@given(ratio=st.sampled_from([0.25, 0.5, 0.75, 0.9]), seed=st.integers(0, 2**16))
@settings(max_examples=30, deadline=None)
def test_of_what_was_recorded_the_same_share_is_hidden_in_every_record(ratio: float, seed: int) -> None:
    """Tokens that are absent fill the visible ones up, whose number is that of a whole record."""
    tokens, count = 40, torch.randint(1, 41, (30,), generator=torch.Generator().manual_seed(seed))
    present = torch.arange(tokens) < count[:, None]
    torch.manual_seed(seed)
    for mask in (random_mask(30, tokens, ratio, present=present), block_mask(30, tokens, ratio, 3, present=present)):
        assert mask.visible.shape == (30, visible_count(tokens, ratio))
        assert torch.equal(~mask.masked, torch.zeros_like(present).scatter(1, mask.visible, True))
        seen = (~mask.masked & present).sum(1)
        assert seen.tolist() == [max(1, int(n * (1 - ratio) + 1e-6)) for n in count.tolist()]


def test_blocks_lie_within_what_was_recorded() -> None:
    present = torch.arange(60) < torch.tensor([60, 30, 12])[:, None]
    torch.manual_seed(0)
    for _ in range(20):
        masked = block_mask(3, 60, 0.5, 3, present=present).masked
        for row, count, length in zip(masked, (60, 30, 12), (10, 5, 2), strict=True):
            hidden = row[:count].int()
            edges = torch.nn.functional.pad(hidden, (1, 1)).diff()
            runs = (edges == -1).nonzero() - (edges == 1).nonzero()
            assert int(hidden.sum()) == 3 * length
            assert (runs % length == 0).all()  # blocks of one length, which may touch


def test_grids_count_shares_of_the_leads_and_the_times_that_were_recorded() -> None:
    """One record has 3 of 4 leads and the first 6 of 12 patches."""
    present = torch.ones(2, 4, 12, dtype=torch.bool)
    present[0, 2] = False
    present[0, :, 6:] = False
    masks = kinds(2, 4, 12, 0.5, present.flatten(1))
    seen = {kind: (~mask.masked).unflatten(1, (4, 12)) & present for kind, mask in masks.items()}
    assert seen["random"].sum(2).tolist() == [[3, 3, 0, 3], [6, 6, 6, 6]]
    assert seen["time"].any(1).sum(1).tolist() == [3, 6]
    assert seen["lead"].any(2).sum(1).tolist() == [1, 2]
    for kind, mask in masks.items():
        assert mask.visible.shape == (2, 24), kind
