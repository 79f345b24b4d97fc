"""multi_scale: convolutions of several lengths side by side, and attention of the channels to each other.

A QRS complex lasts a tenth of a second, a P wave with its interval a fifth, a beat most of one: every block filters
with short and long kernels at once and joins what they give, as Inception does (Szegedy et al. 2015). For ECGs: Xia et
al. (multi-scale convolutions), and Srivastava et al. (CinC 2021: channel self-attention for any set of leads). Of both
no more than the principle is published in their abstracts: kernels, widths and depth are chosen here; the attention is
the channel attention of Fu et al. (CVPR 2019, arXiv:1809.02983).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from ssl_ecg.backbones.base import StepBackbone, check_kernel
from ssl_ecg.backbones.registry import register
from ssl_ecg.backbones.xresnet1d import ConvNorm


class ChannelSelfAttention(nn.Module):
    """Add to every channel the mean of all channels, weighted by how alike they are.

        a[c, d] = mean over time of x[c] x[d]
        x[c] + strength * sum over d of softmax over d of (max over e of a[c, e] - a[c, d]) x[d]

    so that channels attend to those that differ from them, as in the paper; the products are averaged over the whole
    signal rather than summed, that they do not grow with its length. ``strength`` is learned and starts at 0.
    """

    def __init__(self) -> None:
        super().__init__()
        self.strength = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, T] to [B, C, T]."""
        with torch.autocast(x.device.type, enabled=False):
            values = x.float()
            alike = values @ values.transpose(1, 2) / values.shape[2]
            # The maximum, which the softmax takes off, is left out.
            attended = (-alike).softmax(2) @ values
        return x + self.strength * attended.to(x.dtype)


class MultiScaleBlock(nn.Module):
    """Convolutions of several kernels whose channels are joined, added to a shortcut as in xresnet1d."""

    def __init__(self, inputs: int, outputs: int, kernels: Sequence[int], attention: bool) -> None:
        super().__init__()
        count = len(kernels)
        shares = [outputs // count + (number < outputs % count) for number in range(count)]
        self.branches = nn.ModuleList(
            nn.Conv1d(inputs, share, kernel, stride=2, padding=kernel // 2, bias=False)
            for kernel, share in zip(kernels, shares)
        )
        self.norm = nn.Sequential(nn.BatchNorm1d(outputs), nn.ReLU(inplace=True))
        self.join = ConvNorm(outputs, outputs, 1, activate=False)
        self.attention = ChannelSelfAttention() if attention else nn.Identity()
        self.shortcut = nn.Sequential(nn.AvgPool1d(2, ceil_mode=True), ConvNorm(inputs, outputs, 1, activate=False))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs, T] to [B, outputs, ceil(T / 2)]."""
        scales = torch.cat([branch(x) for branch in self.branches], 1)
        return torch.relu(self.attention(self.join(self.norm(scales))) + self.shortcut(x))


class MultiScale(StepBackbone):
    """Multi-scale residual network over signals.

    Args:
        in_leads: leads L of the signal.
        width: channels of the first block; each further one has twice as many.
        kernels: samples of the convolutions of a block, side by side (odd).
        depth: blocks; each halves the rate.
        channel_attention: let channels attend to each other at the end of every block.
        pooling: "mean", "max", "mean_max" or "mean_max_std", over the steps.

    Raises:
        ValueError: an even kernel, or more kernels than channels.
    """

    def __init__(
        self,
        in_leads: int = 12,
        width: int = 48,
        kernels: Sequence[int] = (3, 9, 27),
        depth: int = 4,
        channel_attention: bool = False,
        pooling: str = "mean",
    ) -> None:
        if depth < 1:
            raise ValueError(f"depth={depth}: must be at least 1")
        super().__init__(in_leads, width * 2 ** (depth - 1), pooling)
        for kernel in kernels:
            check_kernel(kernel)
        if not 1 <= len(kernels) <= width:
            raise ValueError(f"kernels={list(kernels)}: choose between 1 and width={width} of them")
        self.stem = ConvNorm(in_leads, width, min(kernels), stride=2)
        widths = [width, *(width * 2**number for number in range(depth))]
        blocks = (MultiScaleBlock(a, b, kernels, channel_attention) for a, b in pairwise(widths))
        self.blocks = nn.Sequential(*blocks)

    def forward_features(self, signal: Tensor, leads: Tensor | None = None) -> Tensor:
        """Map signal [B, L, T] to step features [B, ceil(T / 2^(depth + 1)), width * 2^(depth - 1)]."""
        self.check(signal)
        return self.blocks(self.stem(signal)).transpose(1, 2)

    def group_matcher(self, coarse: bool = False) -> dict[str, object]:
        """Name the layer groups in the order of the data, for timm's layer-wise learning-rate decay."""
        return {"stem": r"^stem", "blocks": r"^blocks\.(\d+)"}


register("multi_scale", MultiScale)
