"""Time segments of a batch of signals, cut from what was recorded."""

from __future__ import annotations

import torch
from torch import Tensor


def adjacent_segments(signal: Tensor, recorded: Tensor, count: int = 2) -> tuple[Tensor, Tensor]:
    """Cut what was recorded of every signal into adjacent, non-overlapping segments of equal length.

    Segments of a record that is shorter than the signal are shorter too: each holds its share of what was recorded.

    Args:
        signal: [B, L, T]; samples that do not fill a segment are left out at the end.
        recorded: int64 [B], samples of each signal that were recorded.
        count: number of segments, at least 2.

    Returns:
        Segments [count, B, L, T // count], 0 where nothing was recorded, and the recorded samples of each [count, B].

    Raises:
        ValueError: fewer than 2 segments, or more segments than samples.
    """
    samples = signal.shape[-1]
    if not 2 <= count <= samples:
        raise ValueError(f"count={count}: choose between 2 segments and one for each of the {samples} samples")
    length = recorded // count  # [B]
    place = torch.arange(samples // count, device=signal.device)
    start = torch.arange(count, device=signal.device)[:, None] * length  # [count, B]
    further = [_window(signal, first, len(place)) for first in start[1:]]
    segments = torch.stack([signal[..., : len(place)], *further])  # the first segments all start at 0
    segments.masked_fill_((place >= length[:, None])[:, None], 0)
    return segments, length.expand(count, -1)


def random_crop(signal: Tensor, recorded: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    """Cut one random window of ``samples`` out of what was recorded of every signal, each at its own place.

    A record that is shorter than the window is cut from its first sample.

    Args:
        signal: [B, L, T].
        recorded: int64 [B], samples of each signal that were recorded.
        samples: length of the window, at most T.

    Returns:
        Windows [B, L, samples], and the recorded samples of each [B].

    Raises:
        ValueError: a window longer than the signal.
    """
    length = signal.shape[-1]
    if not 1 <= samples <= length:
        raise ValueError(f"samples={samples}: choose between 1 and the signal's {length}")
    if samples == length:
        return signal, recorded
    return _window(signal, random_start(recorded - samples), samples), recorded.clamp(max=samples)


def random_start(room: Tensor) -> Tensor:
    """Draw a whole number between 0 and ``room`` for every record, int64 [B]; 0 where there is no room."""
    room = room.clamp(min=0)
    return (torch.rand(len(room), device=room.device) * (room + 1)).long().minimum(room)


def _window(signal: Tensor, start: Tensor, samples: int) -> Tensor:
    """Cut ``samples`` of signal [B, L, T] from ``start`` [B] on."""
    index = start[:, None] + torch.arange(samples, device=signal.device)  # [B, samples]
    return signal.gather(2, index[:, None].expand(-1, signal.shape[1], -1))
