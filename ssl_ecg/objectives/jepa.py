"""JEPA: predict what a slowly following copy of the network makes of hidden blocks (Assran et al., CVPR 2023).

On ECGs: Weimann and Conrad 2024 (arXiv:2410.13867). Nothing is predicted of the signal itself, so noise that cannot be
predicted costs nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_ecg.objectives.masked_decoder import MaskedDecoder
from ssl_ecg.objectives.masked_loss import (
    check_ratio,
    check_tokens,
    encode_visible,
    mean_of_masked,
    present_tokens,
)
from ssl_ecg.objectives.momentum import check_momentum, momentum_at
from ssl_ecg.objectives.registry import register
from ssl_ecg.views import block_mask


class JEPA(nn.Module):
    """Hide blocks of time, encode the rest, and predict the teacher's layer-normalised features of the blocks.

    The teacher sees the whole signal and receives no gradient. It moves at the start of every training forward, towards
    the weights that the last step left; so it is part of the state dict.

    Args:
        backbone: a ``TokenBackbone`` whose patches cover all leads, such as ``vit1d``.
        sampling_rate: Hz; not used.
        ratio: share of patches that is hidden.
        blocks: contiguous blocks they form.
        momentum: share of the teacher that stays at the first step.
        momentum_end: that at the last step, to which it rises by half a cosine (published: to 1, there linearly).
        predictor_width: token width of the predictor.
        predictor_depth: blocks of the predictor.
        predictor_heads: attention heads of the predictor.

    Raises:
        ValueError: another backbone, or an option out of range.
    """

    def __init__(
        self,
        backbone: Any,
        sampling_rate: float,
        ratio: float = 0.6,
        blocks: int = 4,
        momentum: float = 0.99,
        momentum_end: float = 1.0,
        predictor_width: int = 96,
        predictor_depth: int = 4,
        predictor_heads: int = 3,
    ) -> None:
        super().__init__()
        check_tokens("jepa", backbone, all_leads=True)
        check_ratio("ratio", ratio)
        check_momentum(momentum, momentum_end)
        self.backbone = backbone
        self.ratio, self.blocks = ratio, blocks
        self.momentum, self.momentum_end = momentum, momentum_end
        width, tokens = backbone.width, backbone.columns
        self.predictor = MaskedDecoder(width, width, tokens, predictor_width, predictor_depth, predictor_heads)
        self.teacher = copy.deepcopy(backbone).requires_grad_(False)

    def targets(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the teacher's features of a batch, each token of mean 0 and variance 1: float32 [B, N, D]."""
        self.teacher.eval()
        with torch.no_grad():
            features, _ = self.teacher.forward_steps(batch["signal"], batch.get("recorded"), batch.get("leads"))
            return F.layer_norm(features.float(), (self.backbone.width,))

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the loss of a batch: ``signal`` [B, L, T] and, where not all was recorded, ``recorded``, ``leads``.

        Returns:
            "loss", the smooth L1 distance at hidden patches; "target_deviation", by how much targets differ between
            patches and records: 0 where they have collapsed; "features" [B, D] of the visible patches, detached.
        """
        from lightly.models.utils import update_momentum

        if self.training:
            update_momentum(self.backbone, self.teacher, momentum_at(self.momentum, self.momentum_end, batch))
        patches = self.backbone.patchify(batch["signal"])
        present = present_tokens(self.backbone, batch, patches.shape[1])
        mask = block_mask(len(patches), patches.shape[1], self.ratio, self.blocks, patches.device, present)
        encoded, seen = encode_visible(self.backbone, patches, mask, present)
        visible = encoded[:, self.backbone.extra :]
        prediction = self.predictor(visible, [], mask)
        target = self.targets(batch)
        distance = F.smooth_l1_loss(prediction.float(), target, reduction="none").mean(2)
        return {
            "loss": mean_of_masked(distance, mask.masked if present is None else mask.masked & present),
            "target_deviation": target.flatten(0, 1).std(0).mean(),
            "features": self.backbone.pool(visible, seen).detach(),
        }


register("jepa", JEPA)
