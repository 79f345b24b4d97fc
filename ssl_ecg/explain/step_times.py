"""Where the steps and tokens of a network lie in the signal.

A strided convolution with centred padding puts its step n around the sample n x stride; a patch covers its samples.
Maps over steps become maps over samples by linear interpolation between the middles of the steps.
"""

from __future__ import annotations

import math
from functools import singledispatch
from typing import Any

import torch
from torch import Tensor

from ssl_ecg.backbones.bimodal_vit import BimodalViT
from ssl_ecg.backbones.clocs import Clocs
from ssl_ecg.backbones.ecg_image import EcgImage
from ssl_ecg.backbones.lead_wise import LeadWise
from ssl_ecg.backbones.vit1d import ViT1d


@singledispatch
def steps_to_samples(backbone: Any, values: Tensor, samples: int) -> Tensor:
    """Interpolate values of steps to values of samples.

    This is the case of a convolutional network over all leads; networks whose steps lie otherwise have their own.

    Args:
        backbone: the network whose steps they are.
        values: [B, N], a number a step of the network's ``forward_features``, or of a layer before it.
        samples: length T of the signal.

    Returns:
        [B, L, T] where steps are of one lead, else [B, 1, T].
    """
    return _interpolate(values[:, None], 0, math.ceil(samples / values.shape[1]), samples)


@steps_to_samples.register
def _(backbone: Clocs, values: Tensor, samples: int) -> Tensor:
    # Three times: a convolution centred on every third sample, then pairs of its outputs.
    first, stride = 0.0, 1
    for _ in backbone.blocks:
        first, stride = first + 1.5 * stride, 6 * stride
    return _interpolate(values[:, None], first, stride, samples)


@steps_to_samples.register
def _(backbone: LeadWise, values: Tensor, samples: int) -> Tensor:
    by_lead = values.reshape(len(values) * backbone.in_leads, -1)
    return steps_to_samples(backbone.single, by_lead, samples).reshape(len(values), backbone.in_leads, samples)


@steps_to_samples.register
def _(backbone: ViT1d, values: Tensor, samples: int) -> Tensor:
    return _patches(values.unflatten(1, (backbone.rows, -1)), backbone.patch, samples)


@steps_to_samples.register
def _(backbone: BimodalViT, values: Tensor, samples: int) -> Tensor:
    # The global token comes first; the tokens of the spectrum, which lie nowhere in time, last.
    return _patches(values[:, None, 1 : 1 + samples // backbone.patch], backbone.patch, samples)


@steps_to_samples.register
def _(backbone: EcgImage, values: Tensor, samples: int) -> Tensor:
    height, width = backbone.image_size(samples)
    stride = 2 ** round(math.log2(height * width / values.shape[1]) / 2)
    grid = values.unflatten(1, (math.ceil(height / stride), -1))
    columns = _interpolate(grid, 0, stride * backbone.samples_per_column, samples)  # [B, rows, T]
    pixels = _interpolate(columns.transpose(1, 2), 0, stride, height)
    drawn = pixels.unflatten(2, (-1, backbone.lead_height)).mean(3).transpose(1, 2)  # [B, drawn leads, T]
    by_lead = drawn.new_zeros(len(values), backbone.in_leads, samples)
    by_lead[:, backbone.drawn] = drawn
    return by_lead


def _patches(values: Tensor, patch: int, samples: int) -> Tensor:
    return _interpolate(values, (patch - 1) / 2, patch, samples)


def _interpolate(values: Tensor, first: float, stride: int, length: int) -> Tensor:
    """Interpolate values [..., N] at ``first + n * stride`` to [..., length]; constant beyond the ends."""
    steps = values.shape[-1]
    place = ((torch.arange(length, device=values.device) - first) / stride).clamp(0, steps - 1)
    before = place.floor().long()
    after = (before + 1).clamp(max=steps - 1)
    return torch.lerp(values[..., before], values[..., after], (place - before).to(values.dtype))
