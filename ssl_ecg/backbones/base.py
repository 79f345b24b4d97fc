"""What the backbones of this package share: checks of their input, and pooling over time steps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

POOLINGS = ("mean", "max", "mean_max")


class SignalBackbone(nn.Module):
    """A backbone over signals [B, L, T]; subclasses define ``forward_features``, ``pool`` and ``group_matcher``.

    Args:
        in_leads: leads L of the signal.
        width: size D of the pooled feature vector.

    Attributes:
        width: size D of the pooled feature vector.
        in_leads: leads L.
        leads: their names, None until an ``Encoder`` says which signal this is for.
        min_samples: shortest signal, in samples, that leaves a step to pool.
    """

    min_samples = 1
    leads: tuple[str, ...] | None = None

    def __init__(self, in_leads: int, width: int) -> None:
        super().__init__()
        if in_leads < 1:
            raise ValueError(f"in_leads={in_leads}: a signal has at least one lead")
        if width < 1:
            raise ValueError(f"width: leaves {width} features; choose at least 1")
        self.in_leads = in_leads
        self.width = width

    def check(self, signal: Tensor) -> None:
        """Refuse a signal of another shape than [B, in_leads, at least min_samples]; every subclass calls it first."""
        if signal.ndim != 3 or signal.shape[1] != self.in_leads:
            raise ValueError(f"signal {tuple(signal.shape)}: expected [batch, {self.in_leads} leads, samples]")
        if signal.shape[2] < self.min_samples:
            raise ValueError(f"signal {tuple(signal.shape)}: give at least {self.min_samples} samples")

    def forward_features(self, signal: Tensor) -> Tensor:
        """Map signal [B, L, T] to step features [B, N, D']."""
        raise NotImplementedError

    def pool(self, features: Tensor) -> Tensor:
        """Pool step features [B, N, D'] to [B, D]."""
        raise NotImplementedError

    def forward(self, signal: Tensor, recorded: Tensor | None = None, leads: Tensor | None = None) -> Tensor:
        """Map signal [B, L, T] to one feature vector per record [B, D].

        Args:
            signal: [B, L, T].
            recorded: int64 [B], samples of each record that were recorded; None: all T.
            leads: bool [B, L], leads of each record that were recorded; None: all.
        """
        return self.pool(self.forward_features(signal))


class StepBackbone(SignalBackbone):
    """A backbone whose feature vector is the mean or the maximum of its steps, or both.

    Args:
        in_leads: leads L of the signal.
        step_width: features D' of a step.
        pooling: how steps become one feature vector: "mean", "max" or "mean_max" (concatenated: twice the width).
    """

    def __init__(self, in_leads: int, step_width: int, pooling: str) -> None:
        super().__init__(in_leads, step_width * (2 if pooling == "mean_max" else 1))
        if pooling not in POOLINGS:
            raise ValueError(f"pooling={pooling!r}: choose one of {', '.join(POOLINGS)}")
        self.pooling = pooling

    def pool(self, features: Tensor) -> Tensor:
        """Pool step features [B, N, D'] to [B, D]."""
        if self.pooling == "mean":
            return features.mean(1)
        if self.pooling == "max":
            return features.amax(1)
        return torch.cat([features.mean(1), features.amax(1)], dim=1)


def check_kernel(kernel: int) -> None:
    """Refuse a kernel of an even number of samples, which cannot be centred."""
    if kernel < 1 or kernel % 2 == 0:
        raise ValueError(f"kernel={kernel}: choose an odd number of samples")
