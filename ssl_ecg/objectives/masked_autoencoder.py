"""Masked autoencoders of the signal: MAE over time, and ST-MEM, MTAE and MLAE over leads and time.

Each hides patches, encodes the visible ones, decodes all with a small transformer and compares the hidden ones.

- ``mae``: patches of all leads together (He et al., CVPR 2022).
- ``st_mem``: patches of one lead, as many hidden in each lead at random, decoded lead by lead (Na et al., ICLR 2024).
- ``mtae``, ``mlae``: the same stretches of all leads, or whole leads, hidden (MaeFE: Zhang et al., IEEE TIM 2023).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ssl_ecg.backbones import TokenBackbone
from ssl_ecg.backbones.transformer import (
    embedding,
    initialise,
    layer_norm,
    position_table,
    positions,
    transformer_blocks,
)
from ssl_ecg.objectives.masked_loss import (
    check_normalised,
    check_ratio,
    check_tokens,
    encode_visible,
    masked_loss,
    normalise_patches,
    present_tokens,
    recorded_values,
    restore_patches,
    take_present,
)
from ssl_ecg.objectives.registry import register
from ssl_ecg.views import Mask, grid_mask, restore_tokens
from ssl_ecg.views.masks import GRID_MASKS

DECODE = ("all", "lead")


class GridDecoder(nn.Module):
    """Small transformer from the encoder's visible tokens to the patches of every position.

    Args:
        backbone: the encoder; says how many leads have tokens of their own, and what a patch holds.
        width: of the decoder's tokens, E.
        depth: blocks.
        heads: attention heads.
        decode: "lead": the tokens of a lead see that lead alone, with its extra tokens; "all": all tokens.
    """

    def __init__(self, backbone: TokenBackbone, width: int, depth: int, heads: int, decode: str) -> None:
        super().__init__()
        self.rows, self.extra, self.decode = backbone.rows, backbone.extra, decode
        # Of extra tokens that are of no lead, where leads have tokens, nothing can be decoded lead by lead.
        self.ends = 0 if backbone.extra % backbone.rows else backbone.extra // backbone.rows
        self.project = nn.Linear(backbone.width, width)
        self.mask_token = embedding(1, 1, width)
        self.position = position_table(width, backbone.columns)
        self.lead = embedding(self.rows, 1, width) if self.rows > 1 or self.ends else None
        self.blocks = transformer_blocks(width, depth, heads)
        self.norm = layer_norm(width)
        self.output = nn.Linear(width, backbone.values)
        initialise(self)

    def forward(self, encoded: Tensor, mask: Mask) -> Tensor:
        """Predict patches [B, N, V].

        Args:
            encoded: extra and visible tokens [B, extra + K, D], as the encoder returns them.
            mask: which of the N positions are visible.
        """
        x = self.project(encoded)
        extra, visible = x.split([self.extra, mask.visible.shape[1]], dim=1)
        x = restore_tokens(visible, self.mask_token, mask.restore).unflatten(1, (self.rows, -1))  # [B, rows, P, E]
        x = x + positions(self.position, x.shape[2])
        if self.ends:
            x = torch.cat([extra.unflatten(1, (self.rows, self.ends)), x], dim=2)
        if self.lead is not None:
            x = x + self.lead
        shape = x.shape[:3]
        x = x.flatten(0, 1) if self.decode == "lead" else x.flatten(1, 2)
        for block in self.blocks:
            x = block(x)
        return self.output(self.norm(x)).view(*shape, -1)[:, :, self.ends :].flatten(1, 2)


class MaskedAutoencoder(nn.Module):
    """Predict hidden patches of a signal from the visible ones.

    Patches of what was not recorded, as the batch says (``recorded``, ``leads``), are neither seen nor predicted.

    Args:
        backbone: a ``TokenBackbone``; one with tokens of one lead, such as ``vit1d_lead``, for all but the plain masked
            autoencoder.
        sampling_rate: Hz; not used.
        mask: "random", "time" or "lead", see ``views.grid_mask``.
        ratio: share of patches (of leads, for ``mask="lead"``) that is hidden.
        decode: "all" tokens together, or "lead" by lead.
        normalise_targets: predict patches of mean 0 and variance 1 instead of raw ones.
        decoder_width: token width of the decoder.
        decoder_depth: blocks of the decoder.
        decoder_heads: attention heads of the decoder.

    Raises:
        ValueError: a backbone without patches, or with patches that cannot be hidden in this way.
    """

    def __init__(
        self,
        backbone: Any,
        sampling_rate: float,
        mask: str = "random",
        ratio: float = 0.75,
        decode: str = "all",
        normalise_targets: bool = False,
        decoder_width: int = 96,
        decoder_depth: int = 4,
        decoder_heads: int = 3,
    ) -> None:
        super().__init__()
        check_tokens("a masked autoencoder", backbone)
        for name, value, choices in (("mask", mask, GRID_MASKS), ("decode", decode, DECODE)):
            if value not in choices:
                raise ValueError(f"{name}={value!r}: choose one of {', '.join(choices)}")
        if not backbone.by_lead and (mask, decode) != ("random", "all"):
            raise ValueError(f"mask={mask!r}, decode={decode!r}: choose a backbone with tokens of one lead, vit1d_lead")
        check_ratio("ratio", ratio)
        if normalise_targets:
            check_normalised(backbone.values)
        self.backbone = backbone
        self.mask, self.ratio, self.normalise_targets = mask, ratio, normalise_targets
        self.decoder = GridDecoder(backbone, decoder_width, decoder_depth, decoder_heads, decode)

    def draw_mask(self, patches: Tensor, present: Tensor | None = None) -> Mask:
        """Hide some of patches [B, N, V], of those ``present``, bool [B, N], or of all; each record on its own."""
        batch, tokens, rows = len(patches), patches.shape[1], self.backbone.rows
        return grid_mask(self.mask, batch, rows, tokens // rows, self.ratio, patches.device, present)

    def predict(self, patches: Tensor, mask: Mask, present: Tensor | None) -> tuple[Tensor, Tensor]:
        """Predict all patches [B, N, V] from the visible ones among those ``present``, bool [B, N] or None for all.

        Returns:
            The prediction, and the encoder's visible tokens [B, K, D].
        """
        encoded, _ = encode_visible(self.backbone, patches, mask, present)
        return self.decoder(encoded, mask), encoded[:, self.backbone.extra :]

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the loss of a batch: ``signal`` [B, L, T] and, where not all was recorded, ``recorded``, ``leads``.

        Returns:
            "loss"; "features" [B, D] pooled from the visible tokens, detached.
        """
        patches = self.backbone.patchify(batch["signal"])
        present = present_tokens(self.backbone, batch, patches.shape[1])
        mask = self.draw_mask(patches, present)
        prediction, visible = self.predict(patches, mask, present)
        target = normalise_patches(patches) if self.normalise_targets else patches
        scored = mask.masked if present is None else mask.masked & present
        recorded = None if self.backbone.by_lead else recorded_values(batch, patches.shape[2])
        return {
            "loss": masked_loss(prediction, target, scored, recorded),
            "features": self.backbone.pool(visible, take_present(present, mask.visible)).detach(),
        }

    @torch.no_grad()
    def reconstruct(self, batch: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """Return what is hidden and what is predicted, for pictures.

        Returns:
            "signal" with "original", "reconstruction" float32 [B, L, T] and "mask" bool [B, L, T], True where hidden;
            samples that fill no patch are left out. With normalised targets each predicted patch gets the mean and
            deviation of the original.
        """
        patches = self.backbone.patchify(batch["signal"])
        present = present_tokens(self.backbone, batch, patches.shape[1])
        mask = self.draw_mask(patches, present)
        predicted = self.predict(patches, mask, present)[0].float()
        if self.normalise_targets:
            predicted = restore_patches(predicted, patches)
        hidden = mask.masked[..., None].expand_as(patches)
        parts = {"original": patches, "reconstruction": predicted, "mask": hidden}
        return {"signal": {name: self.backbone.unpatchify(part) for name, part in parts.items()}}


register("mae", MaskedAutoencoder)
register("st_mem", partial(MaskedAutoencoder, decode="lead", normalise_targets=True))
register("mtae", partial(MaskedAutoencoder, mask="time", normalise_targets=True))
register("mlae", partial(MaskedAutoencoder, mask="lead", normalise_targets=True))
