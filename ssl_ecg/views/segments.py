"""Time segments of a batch of signals."""

from __future__ import annotations

import torch
from torch import Tensor


def adjacent_segments(signal: Tensor, count: int = 2) -> Tensor:
    """Cut every signal into adjacent, non-overlapping segments of equal length.

    Args:
        signal: [B, L, T]; samples that do not fill a segment are left out at the end.
        count: number of segments, at least 2.

    Returns:
        Segments [count, B, L, T // count].

    Raises:
        ValueError: fewer than 2 segments, or more segments than samples.
    """
    samples = signal.shape[-1]
    if not 2 <= count <= samples:
        raise ValueError(f"count={count}: choose between 2 segments and one for each of the {samples} samples")
    length = samples // count
    return signal[..., : count * length].unflatten(-1, (count, length)).movedim(-2, 0)


def recorded_samples(signal: Tensor) -> Tensor:
    """Return how many samples of signal [B, L, T] there are before the zeros that pad short records, int64 [B]."""
    heard = (signal != 0).any(1)
    return (heard * torch.arange(1, signal.shape[-1] + 1, device=signal.device)).amax(1)


def random_crop(signal: Tensor, samples: int) -> Tensor:
    """Cut one random window of ``samples`` out of every signal, each at its own place before the padding.

    A signal that is shorter is cut from its first sample, with some of its padding.

    Args:
        signal: [B, L, T].
        samples: length of the window, at most T.

    Returns:
        Windows [B, L, samples].

    Raises:
        ValueError: a window longer than the signal.
    """
    batch, leads, length = signal.shape
    if not 1 <= samples <= length:
        raise ValueError(f"samples={samples}: choose between 1 and the signal's {length}")
    if samples == length:
        return signal
    room = (recorded_samples(signal) - samples).clamp(min=0)
    start = (torch.rand(batch, device=signal.device) * (room + 1)).long().minimum(room)
    index = start[:, None, None] + torch.arange(samples, device=signal.device)
    return signal.gather(2, index.expand(batch, leads, samples))
