"""The magnitude spectrum of a lead, the second modality of the bimodal masked autoencoder."""

from __future__ import annotations

import torch
from torch import Tensor


def magnitude_spectrum(signal: Tensor) -> Tensor:
    """Return the standardised magnitude of every lead's Fourier transform, up to half the sampling rate.

    The magnitudes of all T bins, negative frequencies included, are brought to mean 0 and (sample) standard deviation 1
    within the lead; the first T // 2 bins are kept (BMIRC, doi:10.1016/j.patcog.2024.111311). No logarithm, no phase.

    Args:
        signal: [..., T] in any unit: the result depends neither on its scale nor on its offset. Computed in float32.

    Returns:
        float32 [..., T // 2]; bin k stands for k / T cycles a sample. All 0 for a lead that is 0 throughout.

    Raises:
        ValueError: fewer than 2 samples.
    """
    samples = signal.shape[-1]
    if samples < 2:
        raise ValueError(f"signal {tuple(signal.shape)}: a spectrum needs at least 2 samples")
    centred = signal.float() - signal.float().mean(-1, keepdim=True)
    magnitude = torch.fft.rfft(centred).abs()  # half of the bins; a real signal's other half mirrors it
    mirrored = magnitude[..., 1 : (samples + 1) // 2]
    mean = (magnitude.sum(-1, keepdim=True) + mirrored.sum(-1, keepdim=True)) / samples
    squares = (magnitude - mean).square().sum(-1, keepdim=True) + (mirrored - mean).square().sum(-1, keepdim=True)
    # The floor stands inside the root, whose slope at 0 is infinite.
    deviation = (squares / (samples - 1)).clamp(min=1e-12).sqrt()
    return (magnitude[..., : samples // 2] - mean) / deviation
