"""What a masked autoencoder predicts, and the loss: only hidden patches count (He et al., CVPR 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_ecg.backbones import TokenBackbone
from ssl_ecg.backbones.transformer import EPSILON
from ssl_ecg.views import Mask


def masked_loss(prediction: Tensor, target: Tensor, masked: Tensor, recorded: Tensor | None = None) -> Tensor:
    """Return the mean squared error of masked patches: per record over its masked positions, then over the batch.

    Args:
        prediction: patches [B, N, P].
        target: patches [B, N, P].
        masked: bool [B, N]; visible positions cost nothing. A record without a masked position counts 0.
        recorded: bool [B, P], values of a patch that are of leads that were recorded (``recorded_values``); None: all.

    Returns:
        A float32 scalar.
    """
    error = (prediction.float() - target.float()).square()
    if recorded is None:
        return mean_of_masked(error.mean(2), masked)
    of_patch = (error * recorded[:, None]).sum(2) / recorded.sum(1, keepdim=True).clamp(min=1)
    return mean_of_masked(of_patch, masked)


def mean_of_masked(error: Tensor, masked: Tensor) -> Tensor:
    """Return the mean of errors [B, N] over ``masked`` positions, bool [B, N], of each record, then over the batch."""
    return ((error * masked).sum(1) / masked.sum(1).clamp(min=1)).mean()


def present_tokens(backbone: TokenBackbone, batch: Mapping[str, Tensor], tokens: int) -> Tensor | None:
    """Tell bool [B, N] which of N tokens of a batch's ``signal`` are of what was recorded; None: all.

    ``recorded`` [B] and ``leads`` [B, L] of the batch say so; without them everything was.
    """
    return backbone.present(batch["signal"].shape[2], tokens, batch.get("recorded"), batch.get("leads"))


def recorded_values(batch: Mapping[str, Tensor], values: int) -> Tensor | None:
    """Tell bool [B, P] which of the P values of a patch over all leads are of leads that were recorded; None: all."""
    leads = batch.get("leads")
    return None if leads is None else leads.repeat_interleave(values // leads.shape[1], dim=1)


def take_present(present: Tensor | None, index: Tensor) -> Tensor | None:
    """Return which of the tokens at positions ``index`` [B, K] are present, bool [B, K]; None: all."""
    return None if present is None else present.gather(1, index)


def encode_visible(
    backbone: TokenBackbone, patches: Tensor, mask: Mask, present: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Encode the visible patches; what was not recorded is told to nobody.

    Args:
        backbone: the encoder.
        patches: all [B, N, V].
        mask: which are visible.
        present: bool [B, N], which were recorded; None: all.

    Returns:
        Extra and visible tokens [B, extra + K, D], 0 where not recorded; which visible ones are present, bool [B, K].
    """
    seen = take_present(present, mask.visible)
    encoded = backbone.encode(backbone.embed(patches, mask.visible), seen)
    if seen is not None:
        encoded = encoded.masked_fill(~F.pad(seen, (backbone.extra, 0), value=True)[..., None], 0)
    return encoded, seen


def check_ratio(name: str, ratio: float) -> None:
    """Refuse a mask ratio that hides nothing or everything.

    Raises:
        ValueError: naming the option.
    """
    if not 0 < ratio < 1:
        raise ValueError(f"{name}={ratio}: choose a share of hidden patches above 0 and below 1")


def check_tokens(objective: str, backbone: Any, all_leads: bool = False) -> None:
    """Refuse a backbone without tokens or, where they must cover all leads, with tokens of one lead.

    Raises:
        ValueError: naming the backbone, the objective and what it needs.
    """
    kind = type(backbone).__name__
    if not isinstance(backbone, TokenBackbone):
        raise ValueError(
            f"backbone={kind}: {objective} hides tokens, and this network has none to hide; choose backbone=vit1d"
            f"{'' if all_leads else ' or vit1d_lead'}, or derive yours from ssl_ecg.backbones.TokenBackbone (content, "
            "place, encode)"
        )
    if all_leads and backbone.rows > 1:
        raise ValueError(
            f"backbone={kind}: {objective} hides patches of all leads, its patches are of one; choose backbone=vit1d"
        )


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
