"""What a masked autoencoder predicts, and the loss: only hidden patches count (He et al., CVPR 2022)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ssl_ecg.backbones.transformer import EPSILON
from ssl_ecg.backbones.vit1d import ViT1d


def masked_loss(prediction: Tensor, target: Tensor, masked: Tensor) -> Tensor:
    """Return the mean squared error of masked patches: per record over its masked positions, then over the batch.

    Args:
        prediction: patches [B, N, P].
        target: patches [B, N, P].
        masked: bool [B, N]; visible positions cost nothing. A record without a masked position counts 0.

    Returns:
        A float32 scalar.
    """
    error = (prediction.float() - target.float()).square().mean(2) * masked
    return (error.sum(1) / masked.sum(1).clamp(min=1)).mean()


def check_ratio(name: str, ratio: float) -> None:
    """Refuse a mask ratio that hides nothing or everything.

    Raises:
        ValueError: naming the option.
    """
    if not 0 < ratio < 1:
        raise ValueError(f"{name}={ratio}: choose a share of hidden patches above 0 and below 1")


def check_joint_patches(objective: str, backbone: Any) -> None:
    """Refuse a backbone whose tokens are not patches of all leads.

    Raises:
        ValueError: naming the backbone and the objective.
    """
    if not isinstance(backbone, ViT1d) or backbone.tokens != "joint":
        kind = f"{type(backbone).__name__}, tokens={getattr(backbone, 'tokens', None)!r}"
        raise ValueError(f"backbone={kind}: {objective} hides patches of all leads; choose backbone=vit1d")


def check_normalised(values: int) -> None:
    """Refuse to normalise patches of a single value, which have no deviation.

    Raises:
        ValueError: naming the option.
    """
    if values < 2:
        raise ValueError(f"normalise_targets=True: needs patches of at least 2 values, these have {values}")


def normalise_patches(patches: Tensor) -> Tensor:
    """Bring every patch [B, N, P] to mean 0 and variance 1: per-patch normalised targets."""
    mean, deviation = _moments(patches)
    return (patches - mean) / deviation


def restore_patches(prediction: Tensor, patches: Tensor) -> Tensor:
    """Undo ``normalise_patches`` on predictions [B, N, P] with the means and deviations of the patches themselves."""
    mean, deviation = _moments(patches)
    return prediction * deviation + mean


def _moments(patches: Tensor) -> tuple[Tensor, Tensor]:
    variance, mean = torch.var_mean(patches, dim=2, keepdim=True)
    return mean, (variance + EPSILON).sqrt()
