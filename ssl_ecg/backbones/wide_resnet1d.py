"""wide_resnet1d: the wide residual network of "Bag of Tricks for ECG Classification" (Min et al. 2020).

18 layers (doi:10.22489/CinC.2020.328): a convolution, four groups of two pre-activation blocks with dropout between
their convolutions (Zagoruyko and Komodakis 2016, arXiv:1605.07146), the last layer being the task's head. Groups double
the channels and, but for the first, halve the rate; shortcuts pool by maximum and fill new channels with zeros, so
they hold no weights; the features of all steps are pooled by maximum.

Assumed: 7 samples of kernel and a stride of 2 a group (for about 100 Hz), and a widening by 2.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import max_pool1d, pad

from ssl_ecg.backbones.base import StepBackbone, check_kernel
from ssl_ecg.backbones.registry import register

GROUPS = 4
BLOCKS = 2


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv1d:
    convolution = nn.Conv1d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    return convolution


class WideBlock(nn.Module):
    """Pre-activation block: twice batch norm, ReLU, convolution; dropout before the second convolution."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.stride = stride
        self.new_channels = outputs - inputs
        self.branch = nn.Sequential(
            nn.BatchNorm1d(inputs),
            nn.ReLU(),
            _convolution(inputs, outputs, kernel, stride),
            nn.BatchNorm1d(outputs),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            _convolution(outputs, outputs, kernel),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs, T] to [B, outputs, ceil(T / stride)]."""
        shortcut = max_pool1d(x, self.stride, ceil_mode=True) if self.stride > 1 else x
        return self.branch(x) + pad(shortcut, (0, 0, 0, self.new_channels))


class WideResNet1d(StepBackbone):
    """Wide residual network over signals.

    Args:
        in_leads: leads L of the signal.
        width: channels of the first group, 16 times the paper's widening factor; features are 8 times as wide.
        kernel: samples of every convolution (odd).
        dropout: share of the channels' samples dropped within a block.
        pooling: "mean", "max" or "mean_max", over the steps.
    """

    def __init__(
        self, in_leads: int = 12, width: int = 32, kernel: int = 7, dropout: float = 0.3, pooling: str = "max"
    ) -> None:
        features = width * 2 ** (GROUPS - 1)
        super().__init__(in_leads, features, pooling)
        check_kernel(kernel)
        self.stem = _convolution(in_leads, width, kernel)
        stages, inputs = [], width
        for group in range(GROUPS):
            outputs = width * 2**group
            blocks = [WideBlock(inputs, outputs, kernel, 2 if group else 1, dropout)]
            blocks += [WideBlock(outputs, outputs, kernel, 1, dropout) for _ in range(BLOCKS - 1)]
            stages.append(nn.Sequential(*blocks))
            inputs = outputs
        self.stages = nn.Sequential(*stages)
        self.norm = nn.Sequential(nn.BatchNorm1d(features), nn.ReLU(inplace=True))

    def forward_features(self, signal: Tensor) -> Tensor:
        """Map signal [B, L, T] to step features [B, ceil(T / 8), 8 * width]."""
        self.check(signal)
        return self.norm(self.stages(self.stem(signal))).transpose(1, 2)

    def group_matcher(self, coarse: bool = False) -> dict[str, object]:
        """Name the layer groups in the order of the data, for timm's layer-wise learning-rate decay."""
        return {
            "stem": r"^stem",
            "blocks": r"^stages\.(\d+)" if coarse else r"^stages\.(\d+)\.(\d+)",
            "norm": r"^norm",
        }


register("wide_resnet1d", WideResNet1d)
