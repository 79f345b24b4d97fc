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

from ssl_ecg.backbones.transformer import (
    embedding,
    initialise,
    layer_norm,
    position_table,
    positions,
    transformer_blocks,
)
from ssl_ecg.backbones.vit1d import ViT1d
from ssl_ecg.objectives.masked_loss import (
    check_normalised,
    check_ratio,
    masked_loss,
    normalise_patches,
    restore_patches,
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
        decode: "lead": the tokens of a lead see that lead alone, with its two separators; "all": all tokens.
    """

    def __init__(self, backbone: ViT1d, width: int, depth: int, heads: int, decode: str) -> None:
        super().__init__()
        self.rows, self.ends, self.decode = backbone.rows, backbone.separators // backbone.rows, decode
        self.project = nn.Linear(backbone.width, width)
        self.mask_token = embedding(1, 1, width)
        self.position = position_table(width, backbone.position.shape[2])
        if self.ends:
            self.lead = embedding(self.rows, 1, width)
        self.blocks = transformer_blocks(width, depth, heads)
        self.norm = layer_norm(width)
        self.output = nn.Linear(width, backbone.embedding.in_features)
        initialise(self)

    def forward(self, encoded: Tensor, mask: Mask) -> Tensor:
        """Predict patches [B, N, V].

        Args:
            encoded: separators and visible tokens [B, separators + K, D], as the encoder returns them.
            mask: which of the N positions are visible.
        """
        x = self.project(encoded)
        separators, visible = x.split([self.rows * self.ends, mask.visible.shape[1]], dim=1)
        x = restore_tokens(visible, self.mask_token, mask.restore).unflatten(1, (self.rows, -1))  # [B, rows, P, E]
        x = x + positions(self.position, x.shape[2])
        if self.ends:
            x = torch.cat([separators.unflatten(1, (self.rows, self.ends)), x], dim=2) + self.lead
        shape = x.shape[:3]
        x = x.flatten(0, 1) if self.decode == "lead" else x.flatten(1, 2)
        for block in self.blocks:
            x = block(x)
        return self.output(self.norm(x)).view(*shape, -1)[:, :, self.ends :].flatten(1, 2)


class MaskedAutoencoder(nn.Module):
    """Predict hidden patches of a signal from the visible ones.

    Patches of a missing lead (0 throughout) are neither seen nor predicted where patches are of one lead.

    Args:
        backbone: a ``vit1d``; one token a lead and patch (``tokens="lead"``) for all but the plain masked autoencoder.
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
        if not isinstance(backbone, ViT1d):
            raise ValueError(
                f"backbone={type(backbone).__name__}: a masked autoencoder hides tokens; choose "
                "backbone=vit1d (mae) or backbone=vit1d_lead (st_mem, mtae, mlae)"
            )
        for name, value, choices in (("mask", mask, GRID_MASKS), ("decode", decode, DECODE)):
            if value not in choices:
                raise ValueError(f"{name}={value!r}: choose one of {', '.join(choices)}")
        if backbone.tokens != "lead" and (mask, decode) != ("random", "all"):
            raise ValueError(f"mask={mask!r}, decode={decode!r}: choose a backbone with tokens of one lead, vit1d_lead")
        check_ratio("ratio", ratio)
        if normalise_targets:
            check_normalised(backbone.embedding.in_features)
        self.backbone = backbone
        self.mask, self.ratio, self.normalise_targets = mask, ratio, normalise_targets
        self.decoder = GridDecoder(backbone, decoder_width, decoder_depth, decoder_heads, decode)

    def draw_mask(self, patches: Tensor) -> Mask:
        """Hide some of patches [B, N, V], in each record on its own."""
        batch, tokens, rows = len(patches), patches.shape[1], self.backbone.rows
        return grid_mask(self.mask, batch, rows, tokens // rows, self.ratio, patches.device)

    def predict(self, patches: Tensor, mask: Mask, present: Tensor | None) -> tuple[Tensor, Tensor]:
        """Predict all patches [B, N, V] from the visible ones among those ``present``, as the backbone tells them.

        Returns:
            The prediction, and the encoder's visible tokens [B, K, D].
        """
        if present is not None:
            present = present.gather(1, mask.visible)
        encoded = self.backbone.encode(self.backbone.embed(patches, mask.visible), present)
        return self.decoder(encoded, mask), encoded[:, self.backbone.separators :]

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the loss of a batch with ``signal`` [B, L, T].

        Returns:
            "loss"; "features" [B, D] pooled from the visible tokens, detached.
        """
        patches = self.backbone.patchify(batch["signal"])
        mask = self.draw_mask(patches)
        present = self.backbone.present(patches)
        prediction, visible = self.predict(patches, mask, present)
        target = normalise_patches(patches) if self.normalise_targets else patches
        scored = mask.masked if present is None else mask.masked & present
        return {
            "loss": masked_loss(prediction, target, scored),
            "features": self.backbone.pool(visible).detach(),
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
        mask = self.draw_mask(patches)
        predicted = self.predict(patches, mask, self.backbone.present(patches))[0].float()
        if self.normalise_targets:
            predicted = restore_patches(predicted, patches)
        hidden = mask.masked[..., None].expand_as(patches)
        parts = {"original": patches, "reconstruction": predicted, "mask": hidden}
        return {"signal": {name: self.backbone.unpatchify(part) for name, part in parts.items()}}


register("mae", MaskedAutoencoder)
register("st_mem", partial(MaskedAutoencoder, decode="lead", normalise_targets=True))
register("mtae", partial(MaskedAutoencoder, mask="time", normalise_targets=True))
register("mlae", partial(MaskedAutoencoder, mask="lead", normalise_targets=True))
