"""Normalisation of signals on their device, from what was recorded alone."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor

from ssl_ecg.signals.settings import Normalisation


def recorded_mask(signal: Tensor, recorded: Tensor | None = None, leads: Tensor | None = None) -> Tensor:
    """Tell which samples of signal [B, L, T] were recorded.

    Args:
        signal: [B, L, T].
        recorded: int64 [B], samples of each record, from the first on; None: all T.
        leads: bool [B, L], leads of each record; None: all L.

    Returns:
        bool, of a shape that broadcasts to [B, L, T].
    """
    mask = torch.ones(1, 1, 1, dtype=torch.bool, device=signal.device)
    if recorded is not None:
        mask = (torch.arange(signal.shape[-1], device=signal.device) < recorded[:, None])[:, None]
    return mask if leads is None else mask & leads[..., None]


def normalise(signal: Tensor, recorded: Tensor, leads: Tensor, how: str) -> Tensor:
    """Scale to zero mean and unit standard deviation over what was recorded.

    Args:
        signal: [B, L, T], millivolts or any unit.
        recorded: int64 [B], samples of each record that were recorded.
        leads: bool [B, L], leads of each record that were recorded.
        how: "lead" for each lead by itself, "record" for all leads of a record together (keeps the relation of their
            amplitudes), "none" for no scaling.

    Returns:
        float32 [B, L, T]: 0 where nothing was recorded, and where the lead, or the record, is constant.

    Raises:
        ValueError: an unknown ``how``.
    """
    if how not in get_args(Normalisation):
        raise ValueError(f"normalise={how!r}: unknown; choose one of {', '.join(get_args(Normalisation))}")
    with torch.autocast(signal.device.type, enabled=False):
        time, lead = recorded_mask(signal, recorded).float(), leads[..., None].float()  # [B, 1, T], [B, L, 1]
        signal = signal.float() * time
        if how == "none":
            return signal * lead
        # Over time first, which leaves little; then, of all leads together, over leads.
        count, total = recorded[:, None, None] * lead, signal.sum(2, keepdim=True) * lead
        largest = signal.abs().amax(2, keepdim=True) * lead
        if how == "record":
            count, total, largest = count.sum(1, True), total.sum(1, True), largest.amax(1, True)
        count = count.clamp(min=1)
        centred = (signal - total / count) * time
        squares = torch.linalg.vector_norm(centred, dim=2, keepdim=True).square() * lead
        deviation = ((squares.sum(1, True) if how == "record" else squares) / count).sqrt()
        # Rounding leaves a deviation of about 1e-7 x the offset in a constant lead: dividing by it would make noise.
        constant = deviation <= 1e-6 * largest
        return centred * (lead / deviation.masked_fill(constant, torch.inf))
