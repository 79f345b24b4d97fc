"""The bimodal masked autoencoder with internal representation connections (BMIRC, doi:10.1016/j.patcog.2024.111311).

In the order of the data: the spectrum (``signals.spectrum``), patches and tokens (``backbones.bimodal_vit``), masks
(``views.masks``), one decoder a modality (``objectives.masked_decoder``), the loss
(``objectives.masked_loss``), and here all of them together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ssl_ecg.backbones.bimodal_vit import BimodalViT, Encoded
from ssl_ecg.backbones.transformer import unpatchify
from ssl_ecg.objectives.masked_decoder import MaskedDecoder
from ssl_ecg.objectives.masked_loss import (
    check_normalised,
    check_ratio,
    masked_loss,
    normalise_patches,
    recorded_values,
    restore_patches,
)
from ssl_ecg.objectives.registry import register
from ssl_ecg.views import Mask, random_mask


class BimodalMAE(nn.Module):
    """Predict masked patches of the signal and of its spectrum from the visible ones of both.

    Args:
        backbone: a ``bimodal_vit``; with ``frequency=False`` only the signal is masked and predicted.
        sampling_rate: Hz; not used.
        ratio_time: share of time patches hidden; .75 in the publication.
        ratio_frequency: share of spectrum patches hidden; .75 in the publication.
        connections: bring encoder blocks to the decoders: of every second block but the last, the deepest first. On in
            the publication.
        normalise_targets: predict patches of mean 0 and variance 1 instead of raw ones.
        time_weight: weight of the signal's loss.
        frequency_weight: weight of the spectrum's loss.
        decoder_width: token width of the decoders.
        decoder_depth: blocks of each decoder.
        decoder_heads: attention heads of the decoders.
    """

    def __init__(
        self,
        backbone: Any,
        sampling_rate: float,
        ratio_time: float = 0.9,
        ratio_frequency: float = 0.9,
        connections: bool = False,
        normalise_targets: bool = False,
        time_weight: float = 1.0,
        frequency_weight: float = 1.0,
        decoder_width: int = 96,
        decoder_depth: int = 4,
        decoder_heads: int = 3,
    ) -> None:
        super().__init__()
        if not isinstance(backbone, BimodalViT):
            raise ValueError(f"backbone={type(backbone).__name__}: bimodal_mae needs backbone=bimodal_vit")
        check_ratio("ratio_time", ratio_time)
        check_ratio("ratio_frequency", ratio_frequency)
        for name, weight in (("time_weight", time_weight), ("frequency_weight", frequency_weight)):
            if weight < 0:
                raise ValueError(f"{name}={weight}: must not be below 0")
        if normalise_targets:
            check_normalised(backbone.time.patch.in_features)
        self.backbone = backbone
        self.mask_ratio = {"time": ratio_time, "frequency": ratio_frequency}
        self.weight = {"time": time_weight, "frequency": frequency_weight}
        self.normalise_targets = normalise_targets
        specific, joint = len(backbone.time.blocks), len(backbone.joint)
        # Deepest first. The last joint block is what the decoder starts from.
        taps = [("joint", block) for block in range(joint)[1:-1:2]][::-1]
        taps += [("specific", block) for block in range(specific)[1::2]][::-1]
        self.taps = taps[: decoder_depth - 1] if connections else []
        self.decoders = nn.ModuleDict()
        for name in backbone.modalities:
            stream = getattr(backbone, name)
            self.decoders[name] = MaskedDecoder(
                backbone.width,
                stream.patch.in_features,
                stream.position.shape[2],
                decoder_width,
                decoder_depth,
                decoder_heads,
                len(self.taps),
            )

    def draw_masks(self, patches: Mapping[str, Tensor], present: Tensor | None = None) -> dict[str, Mask]:
        """Hide patches at random, in each modality and record on its own; of time those ``present`` [B, N]."""
        return {
            name: random_mask(
                len(values), values.shape[1], self.mask_ratio[name], values.device, present if name == "time" else None
            )
            for name, values in patches.items()
        }

    def _present(self, batch: Mapping[str, Tensor], patches: Mapping[str, Tensor]) -> Tensor | None:
        """Tell which patches of time [B, N] were recorded; None: all."""
        tokens = 1 + sum(values.shape[1] for values in patches.values())
        present = self.backbone.present(batch["signal"].shape[2], tokens, batch.get("recorded"))
        # The global token comes first.
        return None if present is None else present[:, 1 : 1 + patches["time"].shape[1]]

    def predict(
        self, patches: dict[str, Tensor], masks: Mapping[str, Mask], present: Tensor | None = None
    ) -> tuple[dict[str, Tensor], Encoded]:
        """Predict patches [B, N, L * P] by modality; also return what the encoder made of the visible ones.

        Args:
            patches: by modality.
            masks: which of them are visible, by modality.
            present: bool [B, N], patches of time that were recorded; None: all.
        """
        encoded = self.backbone.encode(patches, {name: mask.visible for name, mask in masks.items()}, present)
        predictions = {}
        for name, mask in masks.items():
            taps = [getattr(encoded, kind)[name][block] for kind, block in self.taps]
            predictions[name] = self.decoders[name](encoded.joint[name][-1], taps, mask)
        return predictions, encoded

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the loss of a batch with ``signal`` [B, L, T]; time patches beyond ``recorded`` [B] are not predicted.

        Returns:
            "loss"; "time_loss" and "frequency_loss", unweighted; "features" [B, D] of the visible tokens, detached.
        """
        patches = self.backbone.patches(batch["signal"])
        present = self._present(batch, patches)
        masks = self.draw_masks(patches, present)
        predictions, encoded = self.predict(patches, masks, present)
        losses = {}
        for name, values in patches.items():
            target = normalise_patches(values) if self.normalise_targets else values
            hidden = masks[name].masked
            if name == "time" and present is not None:
                hidden = hidden & present
            losses[name] = masked_loss(predictions[name], target, hidden, recorded_values(batch, values.shape[2]))
        return {
            "loss": torch.stack([self.weight[name] * loss for name, loss in losses.items()]).sum(),
            **{f"{name}_loss": loss.detach() for name, loss in losses.items()},
            "features": self.backbone.pool(encoded.tokens).detach(),
        }

    @torch.no_grad()
    def reconstruct(self, batch: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """Return what is hidden and what is predicted, for pictures.

        Returns:
            "signal" and "spectrum", each with "original", "reconstruction" float32 [B, L, T] and "mask" bool [B, L, T],
            True where hidden. With normalised targets each predicted patch gets the mean and deviation of the original.
        """
        patches = self.backbone.patches(batch["signal"])
        present = self._present(batch, patches)
        masks = self.draw_masks(patches, present)
        predictions, _ = self.predict(patches, masks, present)
        pictures = {}
        for name, values in patches.items():
            predicted = predictions[name].float()
            if self.normalise_targets:
                predicted = restore_patches(predicted, values)
            hidden = masks[name].masked[..., None].expand_as(values)
            parts = {"original": values, "reconstruction": predicted, "mask": hidden}
            pictures["signal" if name == "time" else "spectrum"] = {
                part: unpatchify(value, self.backbone.in_leads) for part, value in parts.items()
            }
        return pictures


register("bimodal_mae", BimodalMAE)
