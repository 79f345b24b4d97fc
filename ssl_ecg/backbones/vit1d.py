"""A vision transformer over patches of an ECG (Dosovitskiy et al., ICLR 2021), for features and for masked objectives.

    signal [B, L, T] -> patchify -> patches [B, N, V] -> embed -> tokens [B, N, D] -> encode -> tokens [B, N, D]

With ``tokens="joint"`` a patch covers all leads: N = T // patch. With ``tokens="lead"`` it covers one (ST-MEM: Na et
al., ICLR 2024): N = L * (T // patch), lead after lead; every lead has an embedding and a separator token at each end.
The tokens know their place by themselves, so ``encode`` takes any of them: masked objectives encode the visible alone.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from ssl_ecg.backbones import transformer
from ssl_ecg.backbones.base import SignalBackbone
from ssl_ecg.backbones.registry import register
from ssl_ecg.backbones.transformer import (
    embedding,
    initialise,
    layer_norm,
    position_table,
    positions,
    transformer_blocks,
)
from ssl_ecg.views import take_tokens

TOKENS = ("joint", "lead")


class ViT1d(SignalBackbone):
    """Vision transformer over time patches of all leads together, or of each lead.

    Where tokens are of one lead, a lead that is 0 throughout counts as missing: no token attends to it (its separators
    stay, with nothing between them), its features are 0, and pooling leaves them out. Where a patch covers all leads
    such a lead adds nothing to the patch.

    Args:
        in_leads: leads L.
        tokens: "joint" or "lead".
        patch: samples of a patch; samples that do not fill one are left out at the end of the signal.
        samples: length T whose positions are learnt; at other lengths they are interpolated.
        width: token width D.
        depth: blocks.
        heads: attention heads.
        mlp_ratio: hidden width of a block's MLP, in widths.
        drop_path: stochastic depth of the last block; it rises linearly from 0 at the first.

    Attributes:
        width: size D of the pooled feature vector.
        rows: leads that have tokens of their own: L or, where they share them, 1.
        separators: tokens that ``encode`` puts in front: 2 a row, or none.

    Raises:
        ValueError: an option out of range, by name.
    """

    def __init__(
        self,
        in_leads: int = 12,
        tokens: str = "joint",
        patch: int = 10,
        samples: int = 1000,
        width: int = 192,
        depth: int = 12,
        heads: int = 3,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__(in_leads, width)
        if tokens not in TOKENS:
            raise ValueError(f"tokens={tokens!r}: choose one of {', '.join(TOKENS)}")
        if depth < 1:
            raise ValueError(f"depth={depth}: choose at least one block")
        if not 1 <= patch <= samples:
            raise ValueError(f"patch={patch}, samples={samples}: choose a patch of at least 1 and at most all samples")
        self.tokens, self.patch = tokens, patch
        self.rows, self.separators = (in_leads, 2 * in_leads) if tokens == "lead" else (1, 0)
        self.position = position_table(width, samples // patch)
        if self.separators:
            self.lead = embedding(in_leads, 1, width)
            self.separator = embedding(2, width)  # at the beginning and at the end of a lead
        self.embedding = nn.Linear(in_leads // self.rows * patch, width)  # on patches: a strided convolution
        self.blocks = transformer_blocks(width, depth, heads, mlp_ratio, (0.0, drop_path))
        self.norm = layer_norm(width)
        initialise(self)

    def patchify(self, signal: Tensor) -> Tensor:
        """Cut signal [B, L, T] into patches [B, N, V]: V = L * patch, laid out as [lead, sample], or patch of one lead.

        Raises:
            ValueError: another number of leads, or a signal shorter than a patch.
        """
        self.check(signal)
        patches = transformer.patchify(signal, self.patch)
        if not self.separators:
            return patches
        return patches.unflatten(2, (self.in_leads, -1)).transpose(1, 2).flatten(1, 2)

    def unpatchify(self, patches: Tensor) -> Tensor:
        """Undo ``patchify``: patches [B, N, V] to a signal [B, L, T], without the samples that filled no patch."""
        if self.separators:
            return patches.unflatten(1, (self.in_leads, -1)).flatten(2)
        return transformer.unpatchify(patches, self.in_leads)

    def present(self, patches: Tensor) -> Tensor | None:
        """Tell bool [B, N] which patches are of a lead that is not missing; None where a patch covers all leads."""
        if not self.separators:
            return None
        by_lead = patches.unflatten(1, (self.in_leads, -1))
        recorded = (by_lead != 0).flatten(2).any(2, keepdim=True)  # [B, L, 1]
        return recorded.expand(by_lead.shape[:3]).flatten(1)

    def embed(self, patches: Tensor, visible: Tensor | None = None) -> Tensor:
        """Map patches [B, N, V], or those at positions ``visible`` [B, K] alone, to tokens that know their place."""
        place = positions(self.position, patches.shape[1] // self.rows)
        if self.separators:
            place = (place + self.lead).flatten(0, 1)[None]
        if visible is not None:
            patches = take_tokens(patches, visible)
            place = take_tokens(place.expand(len(visible), -1, -1), visible)
        return self.embedding(patches) + place

    def encode(self, tokens: Tensor, present: Tensor | None = None) -> Tensor:
        """Encode tokens [B, K, D], all or the visible.

        Args:
            tokens: from ``embed``, in any order.
            present: bool [B, K], False where nobody may attend and the result is 0; None: all are present.

        Returns:
            Separators of lead 0, of lead 1, ..., then the tokens: [B, separators + K, D].
        """
        x, attended = self._open(tokens, present)
        for block in self.blocks:
            x = block(x, attn_mask=attended)
        return self._blank(self.norm(x), present)

    def forward_features(self, signal: Tensor) -> Tensor:
        """Map signal [B, L, T] to tokens [B, N, D]; nothing is masked."""
        patches = self.patchify(signal)
        return self.encode(self.embed(patches), self.present(patches))[:, self.separators :]

    def forward_intermediates(self, signal: Tensor) -> list[Tensor]:
        """Return the tokens [B, N, D] after every block, from the first to the last, before the final norm."""
        patches = self.patchify(signal)
        present = self.present(patches)
        x, attended = self._open(self.embed(patches), present)
        outputs = []
        for block in self.blocks:
            x = block(x, attn_mask=attended)
            outputs.append(self._blank(x, present)[:, self.separators :])
        return outputs

    def pool(self, features: Tensor) -> Tensor:
        """Pool tokens [B, N, D] to their mean [B, D]; those of missing leads, which are 0, do not count."""
        if not self.separators:
            return features.mean(1)
        counted = (features != 0).any(2).sum(1, keepdim=True).clamp(min=1)
        return features.sum(1) / counted

    def group_matcher(self, coarse: bool = False) -> dict[str, object]:
        """Name the layer groups in the order of the data, for timm's layer-wise learning-rate decay."""
        return {
            "stem": r"^(?:position|lead|separator|embedding)",
            "blocks": [(r"^blocks\.(\d+)", None), (r"^norm", (99999,))],
        }

    def _open(self, tokens: Tensor, present: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Put separators in front; return the sequence and which of it may be attended to [B, 1, 1, separators + K]."""
        if self.separators:
            ends = (self.separator + self.lead).flatten(0, 1).to(tokens.dtype)
            tokens = torch.cat([ends.expand(tokens.shape[0], -1, -1), tokens], dim=1)
        if present is None:
            return tokens, None
        return tokens, nn.functional.pad(present, (self.separators, 0), value=True)[:, None, None]

    def _blank(self, x: Tensor, present: Tensor | None) -> Tensor:
        """Set the tokens of missing leads to 0."""
        if present is None:
            return x
        return x * nn.functional.pad(present, (self.separators, 0), value=True)[..., None]


register("vit1d", ViT1d)
register("vit1d_lead", partial(ViT1d, tokens="lead", patch=30))
