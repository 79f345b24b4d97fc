"""mobilenet1d: MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381) with 1-D convolutions, for small devices.

Inverted residuals: widen every step, filter each channel by itself, project to few channels without an activation. The
table of stages is the paper's; the kernel is 5 samples where the paper has 3 x 3 pixels.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from ssl_ecg.backbones.base import StepBackbone, check_kernel
from ssl_ecg.backbones.registry import register

STEM, HEAD = 32, 1280
STAGES = (  # expansion, channels, blocks, stride
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class ConvNorm(nn.Sequential):
    """Convolution, batch norm and, if wanted, an activation; the length is divided by ``stride``."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        activation: Callable[..., nn.Module] | None = nn.ReLU6,
    ) -> None:
        convolution = nn.Conv1d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
        activations = [] if activation is None else [activation(inplace=True)]
        super().__init__(convolution, nn.BatchNorm1d(outputs), *activations)


class InvertedResidual(nn.Module):
    """Widen, filter channel by channel, project; added to the input where the shape stays."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int,
        expansion: int,
        activation: Callable[..., nn.Module] = nn.ReLU6,
    ) -> None:
        super().__init__()
        hidden = inputs * expansion
        widen = [ConvNorm(inputs, hidden, 1, activation=activation)] if expansion > 1 else []
        self.branch = nn.Sequential(
            *widen,
            ConvNorm(hidden, hidden, kernel, stride, groups=hidden, activation=activation),
            ConvNorm(hidden, outputs, 1, activation=None),
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs, T] to [B, outputs, ceil(T / stride)]."""
        return x + self.branch(x) if self.residual else self.branch(x)


class StagedNetwork(StepBackbone):
    """A stem, stages of blocks and a head, one after the other, which halve the time five times."""

    stem: nn.Module
    stages: nn.Module
    head: nn.Module

    def forward_features(self, signal: Tensor, leads: Tensor | None = None) -> Tensor:
        """Map signal [B, L, T] to step features [B, ceil(T / 32), D']."""
        self.check(signal)
        return self.head(self.stages(self.stem(signal))).transpose(1, 2)

    def group_matcher(self, coarse: bool = False) -> dict[str, object]:
        """Name the layer groups in the order of the data, for timm's layer-wise learning-rate decay."""
        return {
            "stem": r"^stem",
            "blocks": r"^stages\.(\d+)" if coarse else r"^stages\.(\d+)\.(\d+)",
            "head": r"^head",
        }


class MobileNet1d(StagedNetwork):
    """Depthwise separable network over signals.

    Args:
        in_leads: leads L of the signal.
        width: channels of the stem; the paper's network has 32, and all other layers scale with it.
        kernel: samples of the stem and of the depthwise convolutions (odd).
        pooling: "mean", "max", "mean_max" or "mean_max_std", over the steps.
    """

    def __init__(self, in_leads: int = 12, width: int = 16, kernel: int = 5, pooling: str = "mean") -> None:
        def scaled(channels: int) -> int:
            return max(1, round(channels * width / STEM))

        super().__init__(in_leads, HEAD * width // STEM, pooling)
        check_kernel(kernel)
        self.stem = ConvNorm(in_leads, width, kernel, stride=2)
        stages, inputs = [], width
        for expansion, channels, depth, stride in STAGES:
            blocks = []
            for number in range(depth):
                blocks.append(InvertedResidual(inputs, scaled(channels), kernel, 1 if number else stride, expansion))
                inputs = scaled(channels)
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.head = ConvNorm(inputs, scaled(HEAD), 1)


register("mobilenet1d", MobileNet1d)
