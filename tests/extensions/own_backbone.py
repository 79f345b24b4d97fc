"""A network of one convolution."""

from __future__ import annotations

from torch import Tensor, nn

from ssl_ecg.backbones import Backbone, register


class OneConvolution(Backbone):
    """Filters of half a second, every quarter of a second at 100 Hz.

    Args:
        in_leads: leads L.
        width: filters D.
    """

    def __init__(self, in_leads: int = 12, width: int = 8) -> None:
        super().__init__(in_leads, width)
        self.filters = nn.Conv1d(in_leads, width, kernel_size=50, stride=25)

    def forward_features(self, signal: Tensor, leads: Tensor | None = None) -> Tensor:
        """Map signal [B, L, T] to step features [B, N, D]."""
        self.check(signal)
        return self.filters(signal).relu().transpose(1, 2)


register("own_backbone", OneConvolution)
