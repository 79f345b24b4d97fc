"""ECGs as images, for networks made for photographs: drawn on the device, a whole batch at a time."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def median_filter(signal: Tensor, kernel: int) -> Tensor:
    """Replace every sample by the median of the ``kernel`` samples around it; the ends are mirrored.

    Args:
        signal: [..., T].
        kernel: odd number of samples, less than 2 T.

    Returns:
        [..., T].

    Raises:
        ValueError: a kernel that is even or longer than the mirrored signal.
    """
    if kernel < 1 or kernel % 2 == 0 or kernel // 2 >= signal.shape[-1]:
        raise ValueError(f"kernel={kernel}: choose an odd number of samples below twice those of {tuple(signal.shape)}")
    if kernel == 1:
        return signal
    mirrored = F.pad(signal.flatten(0, -2), (kernel // 2, kernel // 2), mode="reflect")
    # Sorted, since ONNX has no median.
    return mirrored.unfold(-1, kernel, 1).sort(-1).values[..., kernel // 2].view_as(signal)


def draw_leads(
    signal: Tensor, lead_height: int = 32, samples_per_column: int = 2, limit: float = 6.0, thickness: float = 1.5
) -> Tensor:
    """Draw ECGs as anti-aliased lines, one lead below the other, every lead in a strip of its own.

    Samples are joined by straight lines. In each column of pixels the line covers the heights between its lowest and
    its highest point there, half the thickness more above and below; a pixel is as dark as the part of it that is
    covered. So steep and level lines are exact, and no pixel is computed twice.

    Args:
        signal: [B, L, T], at least 2 samples.
        lead_height: pixels of a strip.
        samples_per_column: samples from one edge of a column of pixels to the other: the paper speed.
        limit: amplitude at the edges of the strip, in the unit of the signal; what goes beyond is drawn at the edge.
        thickness: of the line, in pixels.

    Returns:
        [B, L * lead_height, W], W = ceil((T - 1) / samples_per_column), 0 for paper and 1 for ink, the first row on
        top; positive amplitudes point up.

    Raises:
        ValueError: a signal of another shape, or a strip that is thinner than the line.
    """
    if signal.ndim != 3 or signal.shape[2] < 2:
        raise ValueError(f"signal {tuple(signal.shape)}: expected [batch, leads, at least 2 samples]")
    if not 0 < thickness < lead_height:
        raise ValueError(f"thickness={thickness}, lead_height={lead_height}: choose a line thinner than its strip")
    # Depth below the top of the strip, in pixels.
    depth = (lead_height - (lead_height - thickness) * (signal / limit).clamp(-1, 1)) / 2
    # A column shares the samples at its edges with its neighbours.
    depth = F.pad(depth, (0, -(signal.shape[2] - 1) % samples_per_column), mode="replicate")
    bottom = F.max_pool1d(depth, samples_per_column + 1, samples_per_column) + thickness / 2  # [B, L, W]
    top = -F.max_pool1d(-depth, samples_per_column + 1, samples_per_column) - thickness / 2
    row = torch.arange(lead_height, device=signal.device, dtype=depth.dtype)[:, None]
    lowest, highest = torch.minimum(bottom[:, :, None], row + 1), torch.maximum(top[:, :, None], row)
    return (lowest - highest).clamp(0, 1).flatten(1, 2)
