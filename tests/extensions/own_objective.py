"""Which way does time run? The network tells records from their mirror images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ssl_ecg.objectives import register


class ArrowOfTime(nn.Module):
    """Half of the records run backwards; a linear head says which.

    Args:
        backbone: signal [B, L, T] in, features [B, D] out.
        sampling_rate: Hz.
        share: of the records that run backwards.
    """

    def __init__(self, backbone: Any, sampling_rate: float, share: float = 0.5) -> None:
        super().__init__()
        self.backbone, self.share = backbone, share
        self.head = nn.Linear(backbone.width, 1)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the loss of a batch with ``signal`` [B, L, T]."""
        signal = batch["signal"]
        backwards = torch.rand(len(signal), device=signal.device) < self.share
        features = self.backbone(torch.where(backwards[:, None, None], signal.flip(2), signal))
        loss = nn.functional.binary_cross_entropy_with_logits(self.head(features)[:, 0], backwards.float())
        return {"loss": loss, "features": features.detach()}


register("own_objective", ArrowOfTime)
