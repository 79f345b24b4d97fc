"""ecg_ai: densely connected convolutions with wide filters, after ECG-AI (Khurshid et al., Circulation 2022).

Published are the kind of network, one-dimensional convolutions over 12 leads and 5000 samples (10 s at 500 Hz), its
heads (the survival of atrial fibrillation in intervals; age, sex and atrial fibrillation at the ECG), which are those
of the task ``af_survival``, and weights in another framework. Assumptions of this file are that they are densely
connected (Huang et al., CVPR 2017), and all sizes: a convolution of 142 ms, then three blocks of three convolutions
with 16, 24 and 32 filters, each of which sees all before it in its block; every block halves the rate by maxima;
features are the maxima over time.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ssl_ecg.backbones.base import StepBackbone, check_kernel
from ssl_ecg.backbones.registry import register
from ssl_ecg.backbones.xresnet1d import ConvNorm


class DenseBlock(nn.Module):
    """Convolutions whose input is all that came before them; then the maximum of every two samples of all of it."""

    def __init__(self, inputs: int, filters: int, layers: int, kernel: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(ConvNorm(inputs + n * filters, filters, kernel) for n in range(layers))
        self.pool = nn.MaxPool1d(2, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs, T] to [B, inputs + layers * filters, ceil(T / 2)]."""
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return self.pool(x)


class EcgAi(StepBackbone):
    """Densely connected convolutional network.

    Args:
        in_leads: leads L of the signal.
        width: filters of the first convolution.
        kernel: samples of every convolution (odd); 71 are 142 ms at 500 Hz, 15 are about as long at 100 Hz.
        filters: of the convolutions of each block.
        layers: convolutions of a block.
        pooling: "mean", "max", "mean_max" or "mean_max_std", over the steps.

    Raises:
        ValueError: an even kernel, or no block or layer.
    """

    def __init__(
        self,
        in_leads: int = 12,
        width: int = 32,
        kernel: int = 71,
        filters: Sequence[int] = (16, 24, 32),
        layers: int = 3,
        pooling: str = "max",
    ) -> None:
        check_kernel(kernel)
        if not filters or min(filters) < 1 or layers < 1:
            raise ValueError(f"filters={list(filters)}, layers={layers}: choose a block and a layer at least")
        # Where the first has none, the width says so.
        super().__init__(in_leads, width + layers * sum(filters) if width > 0 else width, pooling)
        self.stem = ConvNorm(in_leads, width, kernel)
        self.blocks = nn.Sequential()
        for count in filters:
            self.blocks.append(DenseBlock(width, count, layers, kernel))
            width += layers * count

    def forward_features(self, signal: Tensor, leads: Tensor | None = None) -> Tensor:
        """Map signal [B, L, T] to step features [B, ceil(T / 2^blocks), D']."""
        self.check(signal)
        return self.blocks(self.stem(signal)).transpose(1, 2)

    def step_times(self, samples: int, steps: int) -> Tensor:
        """Tell the middles of the samples whose maxima become one step [N]."""
        stride = 2 ** len(self.blocks)
        return torch.arange(steps) * float(stride) + (stride - 1) / 2

    def group_matcher(self, coarse: bool = False) -> dict[str, object]:
        """Name the layer groups in the order of the data, for timm's layer-wise learning-rate decay."""
        return {"stem": r"^stem", "blocks": r"^blocks\.(\d+)"}


register("ecg_ai", EcgAi)
