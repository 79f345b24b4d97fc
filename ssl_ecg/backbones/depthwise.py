"""Depthwise separable networks over signals: every channel filtered by itself, then mixed by pointwise convolutions.

    separable1d     MobileNet (Howard et al. 2017, arXiv:1704.04861): filter, then mix
    shufflenet1d    ShuffleNet V2 (Ma et al. 2018, arXiv:1807.11164): half of the channels pass, half are filtered
    efficientnet1d  EfficientNet-B0 (Tan and Le 2019, arXiv:1905.11946): inverted residuals, with gates

The tables of stages are the papers' for images. Of the small ECG networks PD-Net and LiteNet (He et al., Sensors
18:1229, 2018) no more than that they are made of such pairs is known here: ``separable1d`` stands for them.
``mobilenet1d`` (inverted residuals without gates) has a file of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from ssl_ecg.backbones.base import check_kernel
from ssl_ecg.backbones.mobilenet1d import STEM, ConvNorm, InvertedResidual, StagedNetwork
from ssl_ecg.backbones.registry import register
from ssl_ecg.backbones.se_resnet1d import SqueezeExcitation

Stage = tuple[int, int, int, int, int]
"""expansion, channels, blocks, stride of the first, samples by which the kernel is longer than the shortest"""

SEPARABLE: tuple[Stage, ...] = (
    (1, 64, 1, 1, 0),
    (1, 128, 2, 2, 0),
    (1, 256, 2, 2, 0),
    (1, 512, 6, 2, 0),
    (1, 1024, 2, 2, 0),
)
SHUFFLE: tuple[Stage, ...] = ((1, 116, 4, 2, 0), (1, 232, 8, 2, 0), (1, 464, 4, 2, 0))
EFFICIENT: tuple[Stage, ...] = (
    (1, 16, 1, 1, 0),
    (6, 24, 2, 2, 0),
    (6, 40, 2, 2, 2),
    (6, 80, 3, 2, 0),
    (6, 112, 3, 1, 2),
    (6, 192, 4, 2, 2),
    (6, 320, 1, 1, 0),
)
REDUCTION = 4  # of the channels that come in to the hidden units of a gate


class Separable(nn.Sequential):
    """Filter channel by channel, then mix; an activation after each."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__(ConvNorm(inputs, inputs, kernel, stride, groups=inputs), ConvNorm(inputs, outputs, 1))


class ShuffleUnit(nn.Module):
    """Half of the channels pass and half are filtered; where the rate is halved all go both ways, through filters."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        half = outputs // 2
        mix = partial(ConvNorm, kernel=1, activation=nn.ReLU)
        self.halves = stride == 1
        self.passing = nn.Sequential()
        if not self.halves:
            filtered = ConvNorm(inputs, inputs, kernel, stride, groups=inputs, activation=None)
            self.passing = nn.Sequential(filtered, mix(inputs, half))
        self.branch = nn.Sequential(
            mix(half if self.halves else inputs, half),
            ConvNorm(half, half, kernel, stride, groups=half, activation=None),
            mix(half, half),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs, T] to [B, outputs, ceil(T / stride)]; channels of both halves alternate."""
        passing, filtered = x.chunk(2, 1) if self.halves else (x, x)
        return torch.stack([self.passing(passing), self.branch(filtered)], 2).flatten(1, 2)


class GatedResidual(InvertedResidual):
    """MobileNetV2's block with SiLU, and a gate before the channels are projected."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__(inputs, outputs, kernel, stride, expansion, nn.SiLU)
        gate = SqueezeExcitation(inputs * expansion, REDUCTION * expansion, nn.SiLU)
        self.branch.insert(len(self.branch) - 1, gate)


class DepthwiseNetwork(StagedNetwork):
    """A stem that halves the rate, stages of depthwise blocks, and one pointwise convolution where there is a head.

    Args:
        in_leads: leads L of the signal.
        width: what the stem's channels would be of 32; all layers scale with it, to even numbers.
        kernel: samples of the depthwise convolutions (odd); longer by 2 in some stages of EfficientNet.
        pooling: "mean", "max", "mean_max" or "mean_max_std", over the steps.
        block: makes a block from (inputs, outputs, kernel, stride, expansion).
        stages: the table.
        stem: channels of the stem, of a network of ``width`` 32.
        head: channels of the last convolution; None: there is none.
        pooled_stem: halve the rate once more after the stem, by maximum.
        activation: of stem and head.
    """

    def __init__(
        self,
        in_leads: int,
        width: int,
        kernel: int,
        pooling: str,
        block: Callable[[int, int, int, int, int], nn.Module],
        stages: tuple[Stage, ...],
        stem: int,
        head: int | None,
        pooled_stem: bool,
        activation: Callable[..., nn.Module],
    ) -> None:
        def scaled(channels: int) -> int:
            return max(2, 2 * round(channels * width / STEM / 2))

        super().__init__(in_leads, (head or stages[-1][1]) * width // STEM, pooling)
        check_kernel(kernel)
        inputs = scaled(stem)
        self.stem = nn.Sequential(ConvNorm(in_leads, inputs, kernel, stride=2, activation=activation))
        if pooled_stem:
            self.stem.append(nn.MaxPool1d(3, stride=2, padding=1))
        made = []
        for expansion, channels, depth, stride, longer in stages:
            blocks = []
            for number in range(depth):
                outputs = scaled(channels)
                blocks.append(block(inputs, outputs, kernel + longer, 1 if number else stride, expansion))
                inputs = outputs
            made.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*made)
        with torch.no_grad():  # the variance of what a filter gives is that of its own channel, not of all
            for module in self.stages.modules():
                if isinstance(module, nn.Conv1d):
                    module.weight *= module.groups**0.5
        self.head = nn.Identity() if head is None else ConvNorm(inputs, scaled(head), 1, activation=activation)


def separable1d(in_leads: int = 12, width: int = 16, kernel: int = 5, pooling: str = "mean") -> DepthwiseNetwork:
    """Network of filters for each channel and mixing layers, with MobileNet's table (Howard et al. 2017).

    Args:
        in_leads: leads of the signal.
        width: channels of the stem; the paper's network has 32, and all other layers scale with it.
        kernel: samples of the filters, odd.
        pooling: "mean", "max", "mean_max" or "mean_max_std", over the steps.
    """
    return DepthwiseNetwork(in_leads, width, kernel, pooling, Separable, SEPARABLE, 32, None, False, nn.ReLU6)


def shufflenet1d(in_leads: int = 12, width: int = 16, kernel: int = 5, pooling: str = "mean") -> DepthwiseNetwork:
    """Network whose channels are filtered in halves and shuffled: ShuffleNet V2 (Ma et al. 2018).

    Args:
        in_leads: leads of the signal.
        width: 32 gives the paper's network of relative width 1; all layers scale with it.
        kernel: samples of the filters, odd.
        pooling: "mean", "max", "mean_max" or "mean_max_std", over the steps.
    """
    return DepthwiseNetwork(in_leads, width, kernel, pooling, ShuffleUnit, SHUFFLE, 24, 1024, True, nn.ReLU)


def efficientnet1d(in_leads: int = 12, width: int = 16, kernel: int = 3, pooling: str = "mean") -> DepthwiseNetwork:
    """Inverted residuals with gates: EfficientNet-B0 (Tan and Le 2019).

    Args:
        in_leads: leads of the signal.
        width: channels of the stem; the paper's network has 32, and all other layers scale with it.
        kernel: samples of the shorter filters, odd; those of the longer are two more.
        pooling: "mean", "max", "mean_max" or "mean_max_std", over the steps.
    """
    return DepthwiseNetwork(in_leads, width, kernel, pooling, GatedResidual, EFFICIENT, 32, 1280, False, nn.SiLU)


register("separable1d", separable1d)
register("shufflenet1d", shufflenet1d)
register("efficientnet1d", efficientnet1d)
