"""recurrent: gated recurrent networks, behind convolutions or on the samples themselves.

The convolutional-recurrent network of Linschmann et al. ("ECG Classification With a Convolutional Recurrent Neural
Network", CinC 2020): convolutions, a bidirectional GRU, and attention that makes one vector of all its states. What
its abstract leaves open is chosen here: the convolutions run over the whole signal instead of over sliding windows,
halve the rate each, and their number, width and kernel are not the paper's. ``convolutions=0`` is the plain network, a
step a sample.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from ssl_ecg.backbones.attention_pooling import AttentionPooling
from ssl_ecg.backbones.base import StepBackbone, check_kernel
from ssl_ecg.backbones.registry import register
from ssl_ecg.backbones.xresnet1d import ConvNorm

Cell = Literal["gru", "lstm"]
CELLS: dict[str, type[nn.GRU] | type[nn.LSTM]] = {"gru": nn.GRU, "lstm": nn.LSTM}


class RecurrentNetwork(StepBackbone):
    """Convolutions that halve the rate, then a recurrent network.

    Args:
        in_leads: leads L of the signal.
        width: channels of the convolutions and states of the recurrent network in each direction.
        cell: "gru" (Cho et al. 2014) or "lstm" (Hochreiter and Schmidhuber 1997).
        convolutions: how many there are before it; 0 for none.
        kernel: samples of each (odd).
        depth: recurrent layers.
        bidirectional: False lets a state know its past alone; both ways it reads what was not recorded first.
        pooling: "attention", or "mean", "max", "mean_max", "mean_max_std", over the states.
    """

    def __init__(
        self,
        in_leads: int = 12,
        width: int = 64,
        cell: Cell = "gru",
        convolutions: int = 4,
        kernel: int = 5,
        depth: int = 1,
        bidirectional: bool = True,
        pooling: str = "attention",
    ) -> None:
        states = width * (2 if bidirectional else 1)
        super().__init__(in_leads, states, "mean" if pooling == "attention" else pooling)
        check_kernel(kernel)
        if cell not in CELLS:
            raise ValueError(f"cell={cell!r}: choose one of {', '.join(get_args(Cell))}")
        if convolutions < 0 or depth < 1:
            raise ValueError(f"convolutions={convolutions}, depth={depth}: choose at least 0 and 1")
        inputs = [in_leads, *[width] * convolutions]
        self.convolutions = nn.Sequential(*(ConvNorm(channels, width, kernel, 2) for channels in inputs[:-1]))
        self.recurrent = CELLS[cell](inputs[-1], width, depth, batch_first=True, bidirectional=bidirectional)
        self.attention = AttentionPooling(states) if pooling == "attention" else None

    def forward_features(self, signal: Tensor, leads: Tensor | None = None) -> Tensor:
        """Map signal [B, L, T] to states [B, ceil(T / 2^convolutions), width, or twice that both ways]."""
        self.check(signal)
        steps = self.convolutions(signal).transpose(1, 2)
        # In float32: a recurrence of hundreds of steps adds up what lower precision rounds off.
        with torch.autocast(signal.device.type, enabled=False):
            return self.recurrent(steps.float())[0]

    def pool(self, features: Tensor, present: Tensor | None = None) -> Tensor:
        """Pool states [B, N, D'], those ``present`` [B, N] alone, to [B, D]."""
        return super().pool(features, present) if self.attention is None else self.attention(features, present)


register("recurrent", RecurrentNetwork)
