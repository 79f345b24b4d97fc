"""R times of a batch of ECGs: where all leads together change fastest.

A detector by slope, as most are (Pan and Tompkins, IEEE Trans Biomed Eng 1985), over all leads at once and without a
loop over records, so that targets and views of every batch can be made of it: a beat is a maximum, in its 0.6 s, of the
absolute slope summed over leads and averaged over 80 ms, above 0.4 times that slope's 98th percentile.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional as F

from ssl_ecg.signals.normalisation import recorded_mask

QRS = 0.08
"""Seconds over which slope is averaged."""
REFRACTORY = 0.3
"""Seconds in which a beat is followed by no other."""
QUANTILE, SHARE = 0.98, 0.4  # of the slope: single artefacts are taller than any complex, so no maximum


def find_r_peaks(
    signal: Tensor, sampling_rate: float, recorded: Tensor | None = None, leads: Tensor | None = None
) -> Tensor:
    """Find the R times of ECGs.

    Args:
        signal: [B, L, T], band-passed, any unit.
        sampling_rate: Hz.
        recorded: int64 [B], samples of each record that were recorded; None: all T.
        leads: bool [B, L], leads of each record that were recorded; None: all L.

    Returns:
        bool [B, T], True at one sample of each beat: the middle of the 80 ms in which the leads together change most.
    """
    batch, _, samples = signal.shape
    if samples < 2:
        return torch.zeros(batch, samples, dtype=torch.bool, device=signal.device)
    slope = torch.gradient(signal.detach().float(), dim=2)[0].abs()
    real = recorded_mask(slope, None if recorded is None else recorded - 1, leads)  # not the jump where it ends
    slope = (slope * real).sum(1)
    width = max(round(QRS * sampling_rate), 1)
    speed = F.avg_pool1d(F.pad(slope, (width // 2, (width - 1) // 2)), width, stride=1)
    of_record = speed if recorded is None else speed.masked_fill(~recorded_mask(signal, recorded)[:, 0], torch.nan)
    level = SHARE * torch.nanquantile(of_record, QUANTILE, dim=1, keepdim=True)
    reach = min(round(REFRACTORY * sampling_rate), samples - 1)
    place = F.max_pool1d(speed, 2 * reach + 1, stride=1, padding=reach, return_indices=True)[1]
    return (place == torch.arange(samples, device=signal.device)) & (speed > level.clamp(min=1e-12))


def r_peaks(signal: ArrayLike, sampling_rate: float) -> NDArray[np.int64]:
    """Find the R times of one ECG, see ``find_r_peaks``.

    Args:
        signal: float [L, T], band-passed, any unit.
        sampling_rate: Hz.

    Returns:
        Samples, int64 [beats].
    """
    found = find_r_peaks(torch.from_numpy(np.array(signal, np.float32))[None], sampling_rate)
    return np.flatnonzero(found[0].numpy())
