"""se_resnet1d: xresnet1d whose residual branches end in squeeze-and-excitation (Hu et al. 2018, arXiv:1709.01507).

A branch is scaled, channel by channel, by gates between 0 and 1 that two linear layers compute from the mean of every
channel over the whole signal, so that each block sees beyond its receptive field at almost no cost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn

from ssl_ecg.backbones.registry import register
from ssl_ecg.backbones.xresnet1d import ResidualBlock, XResNet1d

MIN_HIDDEN = 4  # of a gate; with fewer, narrow networks lose gates to dead units


class SqueezeExcitation(nn.Module):
    """Scale every channel of [B, C, T] by a gate computed from the means of all channels.

    Args:
        channels: C.
        reduction: the hidden layer has C / reduction units.
        activation: of the hidden layer.
    """

    def __init__(self, channels: int, reduction: int, activation: Callable[..., nn.Module] = nn.ReLU) -> None:
        super().__init__()
        if reduction < 1:
            raise ValueError(f"reduction={reduction}: must be at least 1")
        hidden = max(channels // reduction, MIN_HIDDEN)
        self.gate = nn.Sequential(
            nn.Linear(channels, hidden), activation(inplace=True), nn.Linear(hidden, channels), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, T] to [B, C, T]."""
        return x * self.gate(x.mean(2)).unsqueeze(2)


class SEBlock(ResidualBlock):
    """xresnet1d's residual block; the branch is gated before it joins the shortcut."""

    def __init__(self, inputs: int, width: int, kernel: int, stride: int, expansion: int, reduction: int) -> None:
        super().__init__(inputs, width, kernel, stride, expansion)
        self.branch.append(SqueezeExcitation(width * expansion, reduction))


def _factory(depths: tuple[int, ...], expansion: int) -> Callable[..., XResNet1d]:
    def create(
        in_leads: int = 12,
        width: int = 64,
        kernel: int = 5,
        pooling: str = "mean",
        reduction: int = 16,
        depths: Sequence[int] = depths,
    ) -> XResNet1d:
        """Residual network with squeeze-and-excitation (Hu et al. 2018), for signals.

        Args:
            in_leads: leads of the signal.
            width: channels of the first stage.
            kernel: samples of the residual convolutions, odd.
            pooling: "mean", "max", "mean_max" or "mean_max_std", over the steps.
            reduction: channels to hidden units of the gates.
            depths: residual blocks per stage.
        """
        block = partial(SEBlock, reduction=reduction)
        return XResNet1d(in_leads, depths, max(1, width // 2), width, kernel, expansion, pooling, block)

    return create


register("se_resnet1d18", _factory((2, 2, 2, 2), 1))
register("se_resnet1d34", _factory((3, 4, 6, 3), 1))
register("se_resnet1d50", _factory((3, 4, 6, 3), 4))
