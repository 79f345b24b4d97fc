"""Two views of an ECG that keep what its labels mean: beats in another order, and changes away from the beats.

From sCL-ST (Le et al., IEEE J Biomed Health Inform 27:2818, 2023), whose code is not public; what is not known of it is
chosen here. Split-join cuts every RR interval after 60 % of it, where a T wave has ended and the next P wave has not
begun, and joins all whole beats in random order; the record's ends stay. Peak-weighted noise smoothing adds white noise
to half of the records and smooths the others, with a weight of 0 at R peaks and of 1 far from them. Both are batched,
on the device, drawn from torch's global generator.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_ecg.signals.normalisation import recorded_mask
from ssl_ecg.views.r_peak_detector import find_r_peaks

CUT = (3, 5)  # of an RR interval, as a fraction, so that no rounding moves a cut
FADE = 0.04  # seconds of a cross-fade, between T and P
KEPT = 0.06  # seconds: at this distance from a beat the weight of a change is .39
NOISE_LEVEL = 0.1  # largest standard deviation, in units of the signal
SMOOTHED = 0.05  # seconds of the moving average


def semantic_views(
    signal: Tensor, recorded: Tensor, leads: Tensor, sampling_rate: float, in_order: Tensor | None = None
) -> Tensor:
    """Return both views of ECGs, float [2, B, L, T]: split and joined, and with noise or smoothing between beats.

    Args:
        signal: [B, L, T].
        recorded: int64 [B], samples of each record that were recorded.
        leads: bool [B, L], leads of each record that were recorded.
        sampling_rate: Hz.
        in_order: bool [B], records whose beats stay in their order, since that is what their labels mean; None: none.
    """
    beats = find_r_peaks(signal, sampling_rate, recorded, leads)
    joined = split_join(signal, beats, recorded, round(FADE * sampling_rate))
    if in_order is not None:
        joined = torch.where(in_order[:, None, None], signal, joined)
    changed = change_between_beats(signal, beats, sampling_rate) * recorded_mask(signal, recorded, leads)
    return torch.stack([joined, changed])


def split_join(signal: Tensor, beats: Tensor, recorded: Tensor, fade: int) -> Tensor:
    """Cut between beats and join the beats in random order; what comes before the second and after the last cut stays.

    Args:
        signal: [B, L, T].
        beats: bool [B, T], R times.
        recorded: int64 [B], samples of each record that were recorded.
        fade: samples in which what followed a beat fades into the beat that now follows it.

    Returns:
        [B, L, T]; of a record with fewer than four beats, the signal.
    """
    batch, _, samples = signal.shape
    time = torch.arange(samples, device=signal.device)
    last, following = _nearest(beats)
    between = (last >= 0) & (following < samples)
    # The first sample of each RR interval beyond the cut begins a new segment.
    beyond = between & (CUT[1] * (time - last) >= CUT[0] * (following - last))
    segment = (beyond & ~F.pad(beyond, (1, 0))[:, :-1]).long().cumsum(1)  # [B, T]
    whole = torch.arange(samples + 1, device=signal.device)
    key = torch.rand(batch, samples + 1, device=signal.device)
    key[:, 0] = -1
    key = torch.where(whole >= segment[:, -1:], 2.0, key)
    key = torch.where(segment[:, -1:] > 0, key, 0.0)
    place = key.gather(1, segment).masked_fill(time >= recorded[:, None], 3.0)
    source = place.argsort(dim=1, stable=True)  # [B, T], where each sample comes from
    return _faded(signal, source, recorded, fade)


def change_between_beats(signal: Tensor, beats: Tensor, sampling_rate: float) -> Tensor:
    """Add noise to signals [B, L, T], or smooth them, the more the farther from ``beats``, bool [B, T]."""
    last, following = _nearest(beats)
    time = torch.arange(signal.shape[2], device=signal.device)
    far = torch.minimum((time - last).float(), (following - time).float()) / (KEPT * sampling_rate)
    weight = (1 - torch.exp(-0.5 * far.square()))[:, None]
    level = NOISE_LEVEL * torch.rand(len(signal), 1, 1, device=signal.device)
    noise = level * torch.randn_like(signal)
    width = max(round(SMOOTHED * sampling_rate), 1) | 1  # odd, so that nothing moves
    smooth = F.avg_pool1d(signal, width, stride=1, padding=width // 2, count_include_pad=False) - signal
    noisy = torch.rand(len(signal), 1, 1, device=signal.device) < 0.5
    return signal + weight * torch.where(noisy, noise, smooth)


def _nearest(beats: Tensor) -> tuple[Tensor, Tensor]:
    """Return the last beat up to and with each sample, and the first one after it; -T and 2 T where there is none."""
    samples = beats.shape[1]
    time = torch.arange(samples, device=beats.device)
    last = torch.where(beats, time, -samples).cummax(1).values
    from_here = torch.where(beats, time, 2 * samples).flip(1).cummin(1).values.flip(1)
    return last, F.pad(from_here, (0, 1), value=2 * samples)[:, 1:]


def _faded(signal: Tensor, source: Tensor, recorded: Tensor, fade: int) -> Tensor:
    """Take samples from ``source`` [B, T]; where it jumps, what would have come next fades out."""
    samples = signal.shape[2]
    time = torch.arange(samples, device=signal.device)
    jumps = F.pad(source.diff(dim=1) != 1, (1, 0))
    join = torch.where(jumps, time, 0).cummax(1).values  # [B, T], the last join; 0: none
    since = time - join
    share = torch.where(join > 0, ((since + 1) / (fade + 1)).clamp(max=1), 1.0)
    before = source.gather(1, (join - 1).clamp(min=0)) + 1 + since
    before = before.minimum(recorded[:, None] - 1).clamp(0, samples - 1)

    def taken(index: Tensor) -> Tensor:
        return signal.gather(2, index[:, None].expand(-1, signal.shape[1], -1))

    return torch.lerp(taken(before), taken(source), share[:, None].to(signal.dtype))
