"""clocs: a single-lead encoder of the size used by CLOCS (Kiyasseh et al., ICML 2021, arXiv:2005.13249).

Three blocks of convolution (7 samples, stride 3), batch norm, ReLU, maximum over 2 steps and dropout, with 4, 16 and 32
channels, then one linear layer. Two things differ from the paper, so that any length works: the convolutions pad, and
the steps are averaged to 10 before the linear layer, as many as the paper's unpadded 2500 samples leave.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool1d

from ssl_ecg.backbones.base import SignalBackbone
from ssl_ecg.backbones.registry import register

CHANNELS = (4, 16, 32)
KERNEL, STRIDE, POOL = 7, 3, 2
STEPS = 10


class Clocs(SignalBackbone):
    """CLOCS-sized encoder. The method shows it one lead at a time; it takes any number.

    Args:
        in_leads: leads L of the signal.
        width: size D of the embedding; the paper has 32 to 320.
        dropout: share of every block's output dropped.
    """

    def __init__(self, in_leads: int = 12, width: int = 320, dropout: float = 0.1) -> None:
        super().__init__(in_leads, width)
        # The last pooling needs POOL steps; every convolution before it makes ceil(T / STRIDE) of T samples.
        for _ in CHANNELS:
            self.min_samples = (POOL * self.min_samples - 1) * STRIDE + 1
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv1d(inputs, outputs, KERNEL, STRIDE, padding=KERNEL // 2),
                    nn.BatchNorm1d(outputs),
                    nn.ReLU(inplace=True),
                    nn.MaxPool1d(POOL),
                    nn.Dropout(dropout),
                )
                for inputs, outputs in pairwise((in_leads, *CHANNELS))
            )
        )
        self.linear = nn.Linear(CHANNELS[-1] * STEPS, width)

    def forward_features(self, signal: Tensor) -> Tensor:
        """Map signal [B, L, T] to step features [B, about T / 216, 32]."""
        self.check(signal)
        return self.blocks(signal).transpose(1, 2)

    def pool(self, features: Tensor) -> Tensor:
        """Average step features [B, N, 32] to 10 steps and embed them together: [B, D]."""
        return self.linear(adaptive_avg_pool1d(features.transpose(1, 2), STEPS).flatten(1))

    def group_matcher(self, coarse: bool = False) -> dict[str, object]:
        """Name the layer groups in the order of the data, for timm's layer-wise learning-rate decay."""
        return {"blocks": r"^blocks\.(\d+)", "linear": r"^linear"}


register("clocs", Clocs)
