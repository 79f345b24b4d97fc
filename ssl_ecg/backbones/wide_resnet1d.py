"""wide_resnet1d: the wide residual network of "Bag of Tricks for ECG Classification" (Min et al. 2020).

18 layers (doi:10.22489/CinC.2020.328): a convolution, four groups of two pre-activation blocks with dropout between
their convolutions (Zagoruyko and Komodakis 2016, arXiv:1605.07146), the last layer being the task's head. Groups double
the channels and, but for the first, divide the rate by 4; shortcuts pool by maximum and fill new channels with zeros,
so they hold no weights; the first block's shortcut starts behind its first activation. The features of all steps are
pooled by maximum. Kernels of 11 samples, the stride and a widening by 2 are those of the authors' published
configuration, for 500 Hz.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import max_pool1d, pad

from ssl_ecg.backbones.base import StepBackbone, check_kernel
from ssl_ecg.backbones.registry import register

GROUPS = 4
BLOCKS = 2


class _Convolution(nn.Conv1d):
    """A convolution that makes T // stride of T samples, each from the middle of its stride."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, bias=False)
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        self.ends = (kernel - stride) // 2, (kernel - stride + 1) // 2

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs, T] to [B, outputs, T // stride]."""
        return super().forward(pad(x, self.ends))


class WideBlock(nn.Module):
    """Pre-activation block: twice batch norm, ReLU, convolution; dropout before the second convolution."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, dropout: float, first: bool) -> None:
        super().__init__()
        self.stride, self.first = stride, first
        self.new_channels = outputs - inputs
        self.activation = nn.Sequential(nn.BatchNorm1d(inputs), nn.ReLU())
        self.branch = nn.Sequential(
            _Convolution(inputs, outputs, kernel, stride),
            nn.BatchNorm1d(outputs),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            _Convolution(outputs, outputs, kernel),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs, T] to [B, outputs, T // stride]."""
        active = self.activation(x)
        shortcut = active if self.first else x
        if self.stride > 1:
            shortcut = max_pool1d(shortcut, self.stride)
        return self.branch(active) + pad(shortcut, (0, 0, 0, self.new_channels))


class WideResNet1d(StepBackbone):
    """Wide residual network over signals.

    Args:
        in_leads: leads L of the signal.
        width: channels of the first group, 16 times the paper's widening factor; features are 8 times as wide.
        kernel: samples of every convolution (odd).
        stride: samples that become one in each group but the first; at most ``kernel``.
        dropout: share of the channels' samples dropped within a block and behind the last.
        pooling: "mean", "max", "mean_max" or "mean_max_std", over the steps.

    Raises:
        ValueError: an even kernel, or a stride outside 1 to ``kernel``.
    """

    def __init__(
        self,
        in_leads: int = 12,
        width: int = 32,
        kernel: int = 11,
        stride: int = 4,
        dropout: float = 0.3,
        pooling: str = "max",
    ) -> None:
        features = width * 2 ** (GROUPS - 1)
        super().__init__(in_leads, features, pooling)
        check_kernel(kernel)
        if not 1 <= stride <= kernel:
            raise ValueError(f"stride={stride}: choose between 1 and the kernel's {kernel} samples")
        self.min_samples = stride ** (GROUPS - 1)
        self.stem = _Convolution(in_leads, width, kernel)
        stages, inputs = [], width
        for group in range(GROUPS):
            outputs = width * 2**group
            blocks = [WideBlock(inputs, outputs, kernel, stride if group else 1, dropout, first=group == 0)]
            blocks += [WideBlock(outputs, outputs, kernel, 1, dropout, first=False) for _ in range(BLOCKS - 1)]
            stages.append(nn.Sequential(*blocks))
            inputs = outputs
        self.stages = nn.Sequential(*stages)
        self.norm = nn.Sequential(nn.BatchNorm1d(features), nn.ReLU(inplace=True), nn.Dropout(dropout))

    def forward_features(self, signal: Tensor, leads: Tensor | None = None) -> Tensor:
        """Map signal [B, L, T] to step features [B, T // stride^3, 8 * width]."""
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
