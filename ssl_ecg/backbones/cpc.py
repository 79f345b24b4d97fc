"""cpc: the network of contrastive predictive coding (van den Oord et al. 2018, arXiv:1807.03748).

    signal [B, L, T] -> windows -> latents z [B, N, D] -> context c [B, N, D]

Every window of a few samples of all leads becomes a latent by itself; a causal network sums up the latents so far, and
its states are the features. On ECGs: Mehari and Strodthoff (Comput Biol Med 2022), who found a state-space model to be
the strongest context afterwards (arXiv:2211.07579).

What the papers leave open, or have otherwise, as it is here: windows do not overlap, and their latents are a linear
map, ReLU and another linear map (published for ECGs: four pointwise convolutions at 100 Hz, no striding); no norm looks
along time, which would tell the past of the future. The published ECG model has 512 channels (``width=512``).
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from ssl_ecg.backbones.base import StepBackbone
from ssl_ecg.backbones.registry import register
from ssl_ecg.backbones.s4d import S4D

Context = Literal["gru", "s4d"]


class CPCNetwork(StepBackbone):
    """Latents of short windows, and a causal context over them.

    Args:
        in_leads: leads L of the signal.
        width: size D of latents and of the context; pooled by mean and maximum it gives twice as many features.
        window: samples of a window; those that fill none are left out at the end.
        context: "gru", a gated recurrent network, or "s4d", causal state-space layers.
        depth: layers of the context.
        pooling: "mean", "max", "mean_max" or "mean_max_std", over the steps of the context.
    """

    def __init__(
        self,
        in_leads: int = 12,
        width: int = 128,
        window: int = 8,
        context: Context = "gru",
        depth: int = 2,
        pooling: str = "mean_max",
    ) -> None:
        super().__init__(in_leads, width, pooling)
        if context not in get_args(Context):
            raise ValueError(f"context={context!r}: choose one of {', '.join(get_args(Context))}")
        for name, size in (("window", window), ("depth", depth)):
            if size < 1:
                raise ValueError(f"{name}={size}: must be at least 1")
        self.window = self.min_samples = window
        self.step_width = width
        self.encoder = nn.Sequential(
            nn.Conv1d(in_leads, width, window, stride=window), nn.ReLU(inplace=True), nn.Conv1d(width, width, 1)
        )
        self.context = (
            nn.GRU(width, width, depth, batch_first=True)
            if context == "gru"
            else S4D(width, width, depth, bidirectional=False)
        )

    def latents(self, signal: Tensor) -> Tensor:
        """Map signal [B, L, T] to the latents of its windows [B, T // window, D]."""
        self.check(signal)
        return self.encoder(signal).transpose(1, 2)

    def summarise(self, latents: Tensor) -> Tensor:
        """Map latents [B, N, D] to the context [B, N, D]; that of a step knows nothing of later steps."""
        if isinstance(self.context, nn.GRU):
            # In float32: a recurrence of hundreds of steps adds up what lower precision rounds off.
            with torch.autocast(latents.device.type, enabled=False):
                return self.context(latents.float())[0]
        return self.context.forward_features(latents.transpose(1, 2))

    def forward_features(self, signal: Tensor, leads: Tensor | None = None) -> Tensor:
        """Map signal [B, L, T] to the context [B, T // window, D]."""
        return self.summarise(self.latents(signal))

    def step_times(self, samples: int, steps: int) -> Tensor:
        """Tell the centres of the windows [N]."""
        return (torch.arange(steps) + 0.5) * self.window - 0.5


register("cpc", CPCNetwork)
