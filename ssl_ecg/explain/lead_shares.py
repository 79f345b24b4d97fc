"""How much each lead speaks for an output: what the output loses where the lead was not recorded (occlusion)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@torch.no_grad()
def lead_shares(
    output: Callable[[Tensor, Tensor, Tensor], Tensor], signal: Tensor, recorded: Tensor, leads: Tensor
) -> NDArray[np.float64]:
    """Return the share of each lead in what speaks for an output, for any network.

    Each recorded lead is left out in turn, as if it had not been recorded (Zeiler, Fergus, ECCV 2014, with leads for
    patches of an image). Leads hold much in common, so that none may be missed, and shares say little then.

    Args:
        output: maps signals, ``recorded`` and ``leads``, as the encoder takes them, to a number each, [B].
        signal: of one record, [1, L, T], millivolts.
        recorded: int64 [1].
        leads: bool [1, L].

    Returns:
        [L], not negative, adding up to 1; NaN where leaving out a lead never lowers the output. 0 for a lead that was
        not recorded.
    """
    count = signal.shape[1]
    without = leads & ~torch.eye(count, dtype=torch.bool, device=leads.device)  # [L, L]
    signals = signal * without[..., None]
    lost = output(signal, recorded, leads) - output(signals, recorded.expand(count), without)
    found = (lost * leads[0]).clamp(min=0).double().cpu().numpy()
    return found / found.sum() if found.sum() > 0 else np.full(count, np.nan)
