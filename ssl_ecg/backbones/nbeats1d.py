"""nbeats1d: the network of N-BEATS (Oreshkin et al., ICLR 2020, arXiv:1905.10437), as a baseline without convolutions.

    window x_1 [L * W] -> block 1 -> x_2 = x_1 - its backcast -> block 2 -> ...
    features = sum of the outputs of the blocks

Every block is a few fully connected layers with two linear outputs: what of the window it explains, which is taken
away before the next block, and what it adds to the features, where forecasting adds to the forecast. For ECGs:
Puszkarski, Hryniow, Sarwas, "N-BEATS for Heart Dysfunction Classification" (CinC 2021). What is chosen here: the
generic network, without trend and season; windows of all leads that do not overlap, all through the same blocks,
pooled over the windows.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from ssl_ecg.backbones.base import StepBackbone
from ssl_ecg.backbones.registry import register


class Block(nn.Module):
    """Fully connected layers, and the linear maps of their result to a backcast and to features.

    The last block has no backcast, since nothing would be left to explain it to.
    """

    def __init__(self, inputs: int, hidden: int, layers: int, outputs: int, last: bool) -> None:
        super().__init__()
        sizes = [inputs, *[hidden] * layers]
        stack = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.ReLU(inplace=True))]
        self.stack = nn.Sequential(*stack)
        self.backcast = None if last else nn.Linear(hidden, inputs)
        self.output = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map windows [B, N, L * W] to what is left of them, and features [B, N, D]."""
        hidden = self.stack(x)
        return x if self.backcast is None else x - self.backcast(hidden), self.output(hidden)


class NBeats(StepBackbone):
    """Doubly residual fully connected blocks over windows of the signal.

    Args:
        in_leads: leads L of the signal.
        width: features D' of a window; pooled by mean and maximum it gives twice as many.
        window: samples W of a window; those that fill none are left out at the end.
        blocks: how many there are.
        layers: fully connected layers of a block.
        hidden: units of each.
        pooling: "mean", "max", "mean_max" or "mean_max_std", over the windows.
    """

    def __init__(
        self,
        in_leads: int = 12,
        width: int = 128,
        window: int = 50,
        blocks: int = 4,
        layers: int = 4,
        hidden: int = 256,
        pooling: str = "mean_max",
    ) -> None:
        super().__init__(in_leads, width, pooling)
        for name, size in (("window", window), ("blocks", blocks), ("layers", layers), ("hidden", hidden)):
            if size < 1:
                raise ValueError(f"{name}={size}: must be at least 1")
        self.window = self.min_samples = window
        inputs = in_leads * window
        self.blocks = nn.ModuleList(
            Block(inputs, hidden, layers, width, last=number == blocks - 1) for number in range(blocks)
        )

    def forward_features(self, signal: Tensor, leads: Tensor | None = None) -> Tensor:
        """Map signal [B, L, T] to the features of its windows [B, T // window, width]."""
        self.check(signal)
        rest = signal.unfold(2, self.window, self.window).transpose(1, 2).flatten(2)  # [B, N, L * W]
        outputs = []
        for block in self.blocks:
            rest, output = block(rest)
            outputs.append(output)
        return torch.stack(outputs).sum(0)

    def step_times(self, samples: int, steps: int) -> Tensor:
        """Tell the centres of the windows [N]."""
        return (torch.arange(steps) + 0.5) * self.window - 0.5


register("nbeats1d", NBeats)
