"""Random masks over tokens: what a masked autoencoder sees and what it must predict (He et al., CVPR 2022).

Every record shows K of N tokens. ``present``, bool [B, N], tells which of them were recorded (None: all): of these the
same share is hidden in every record. A record that lacks tokens fills its places among the visible with absent ones,
which attention must leave out (``present.gather(1, mask.visible)``); the loss counts ``mask.masked & present``.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

GRID_MASKS = ("random", "time", "lead")


class Mask(NamedTuple):
    """Which of N tokens a record shows: every row holds a permutation, visible tokens first.

    Attributes:
        visible: positions of the visible tokens [B, K], in any order.
        restore: where each position lies among [visible, masked] tokens [B, N]; undoes the shuffle.
        masked: bool [B, N], True where a token is hidden.
    """

    visible: Tensor
    restore: Tensor
    masked: Tensor


def random_mask(
    batch: int,
    tokens: int,
    ratio: float,
    device: torch.device | str | None = None,
    present: Tensor | None = None,
) -> Mask:
    """Hide tokens at random: exactly as many in every record, all positions alike, records independent.

    Args:
        batch: records B.
        tokens: tokens N of a record.
        ratio: share of tokens hidden, at least 0 and below 1; int(N * (1 - ratio)), at least one, stay visible.
        device: of the result.
        present: bool [B, N], tokens that were recorded; None: all.

    Raises:
        ValueError: a ratio outside [0, 1).
    """
    draw = torch.rand(batch, tokens, device=device)
    if present is not None:
        rank = draw.masked_fill(~present, torch.inf).argsort(dim=1).argsort(dim=1)
        draw = _absent_between(draw, rank >= _visible_counts(present.sum(1, keepdim=True), ratio), present)
    return keep_smallest(draw, visible_count(tokens, ratio))


def grid_mask(
    kind: str,
    batch: int,
    leads: int,
    patches: int,
    ratio: float,
    device: torch.device | str | None = None,
    present: Tensor | None = None,
) -> Mask:
    """Hide tokens of a grid of leads and patches, N = leads * patches, lead after lead; records independent.

    Args:
        kind: "random" hides as many patches in every lead, each lead on its own (ST-MEM: Na et al., ICLR 2024); "time"
            hides the same patches in all leads; "lead" hides whole leads (MTAE and MLAE of MaeFE: Zhang et al. 2023).
        batch: records B.
        leads: rows of the grid.
        patches: columns of the grid.
        ratio: share of patches, or of leads, hidden, as in ``random_mask``.
        device: of the result.
        present: bool [B, N], tokens that were recorded; None: all. Of "time" and "lead" the share is that of patches,
            or of leads, of which anything was recorded.

    Raises:
        ValueError: an unknown kind, or a ratio outside [0, 1).
    """
    if kind not in GRID_MASKS:
        raise ValueError(f"mask={kind!r}: choose one of {', '.join(GRID_MASKS)}")
    grid = None if present is None else present.unflatten(1, (leads, patches))
    if kind == "random":
        rows = None if grid is None else grid.flatten(0, 1)
        hidden = random_mask(batch * leads, patches, ratio, device, rows).masked.unflatten(0, (batch, leads))
    elif kind == "time":
        hidden = random_mask(batch, patches, ratio, device, None if grid is None else grid.any(1)).masked[:, None]
    else:
        hidden = random_mask(batch, leads, ratio, device, None if grid is None else grid.any(2)).masked[..., None]
    # Known without looking at the mask, which would wait for the device.
    count = visible_count(leads, ratio) * patches if kind == "lead" else visible_count(patches, ratio) * leads
    return keep_smallest(hidden.expand(batch, leads, patches).flatten(1).float(), count)


def block_mask(
    batch: int,
    tokens: int,
    ratio: float,
    blocks: int,
    device: torch.device | str | None = None,
    present: Tensor | None = None,
) -> Mask:
    """Hide contiguous blocks of tokens, of one length, anywhere, also next to each other; records independent.

    Args:
        batch: records B.
        tokens: tokens N of a record.
        ratio: share of tokens hidden, as in ``random_mask``.
        blocks: how many; where they cannot be of one length, some are one token longer.
        device: of the result.
        present: bool [B, N], tokens that were recorded, of each record the first ones; None: all.

    Raises:
        ValueError: a ratio outside [0, 1), or fewer hidden tokens than blocks.
    """
    shown = visible_count(tokens, ratio)
    hidden = tokens - shown
    if not 1 <= blocks <= hidden:
        raise ValueError(
            f"blocks={blocks}: choose at least 1 and at most the {hidden} of {tokens} tokens that are hidden"
        )
    count = torch.full((batch, 1), tokens, device=device) if present is None else present.sum(1, keepdim=True)
    seen = _visible_counts(count, ratio)
    # Blocks and visible tokens stand in a row in random order; then every block takes its length. What a record has not
    # comes last.
    unit = torch.arange(shown + blocks, device=device) < seen + blocks
    draw = torch.rand(batch, shown + blocks, device=device).masked_fill(~unit, torch.inf)
    place = draw.argsort(dim=1)[:, :blocks]
    lengths = (count - seen) // blocks + (torch.arange(blocks, device=device) < (count - seen) % blocks).long()
    length = torch.cat([unit.long().scatter(1, place, lengths), tokens - count], dim=1)
    is_block = torch.zeros_like(length).scatter(1, place, 1)
    masked = is_block.flatten().repeat_interleave(length.flatten(), output_size=batch * tokens).view(batch, tokens)
    masked = masked.float() if present is None else _absent_between(torch.zeros_like(masked), masked.bool(), present)
    return keep_smallest(masked, shown)


def visible_count(tokens: int, ratio: float) -> int:
    """Return how many of ``tokens`` stay visible: int(tokens * (1 - ratio)), at least one.

    Raises:
        ValueError: a ratio outside [0, 1), or one above 0 that hides none of so few tokens.
    """
    if not 0 <= ratio < 1:
        raise ValueError(f"ratio={ratio}: choose a share of hidden tokens of at least 0 and below 1")
    # The tolerance keeps 10 * (1 - 0.9) at 1, which floating point puts just below.
    shown = max(1, int(tokens * (1 - ratio) + 1e-6))
    if ratio and shown == tokens:
        raise ValueError(f"ratio={ratio}: hides none of {tokens} tokens, so that nothing would be learned")
    return shown


def _visible_counts(tokens: Tensor, ratio: float) -> Tensor:
    """Return how many stay visible of numbers of tokens: as ``visible_count``, but none of none."""
    return (tokens * (1 - ratio) + 1e-6).long().clamp(min=1).minimum(tokens)


def _absent_between(draw: Tensor, hidden: Tensor, present: Tensor) -> Tensor:
    """Order tokens [B, N] for ``keep_smallest``: visible, absent, hidden; within each by a draw below 1."""
    return draw + torch.where(present, 2.0 * hidden, 1.0)


def keep_smallest(draw: Tensor, count: int) -> Mask:
    """Show the ``count`` tokens with the smallest draws of each record; ``draw`` is [B, N]."""
    order = draw.argsort(dim=1)
    restore = order.argsort(dim=1)
    return Mask(order[:, :count], restore, restore >= count)


def take_tokens(tokens: Tensor, index: Tensor) -> Tensor:
    """Take tokens [B, N, D] at positions [B, K]; the result is [B, K, D]."""
    return tokens.gather(1, index[..., None].expand(-1, -1, tokens.shape[-1]))


def restore_tokens(visible: Tensor, fill: Tensor, restore: Tensor) -> Tensor:
    """Put visible tokens back in their places, ``fill`` everywhere else.

    Args:
        visible: [B, K, D], in the order of ``Mask.visible``.
        fill: [D] or [1, 1, D], what stands at masked positions.
        restore: [B, N] of the mask.

    Returns:
        Tokens [B, N, D].
    """
    batch, kept, width = visible.shape
    hidden = fill.to(visible.dtype).expand(batch, restore.shape[1] - kept, width)
    return take_tokens(torch.cat([visible, hidden], dim=1), restore)
