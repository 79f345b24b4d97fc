"""A vision transformer over patches of an ECG (Dosovitskiy et al., ICLR 2021), for features and for masked objectives.

With ``tokens="all_leads"`` a patch covers all leads: N = T // patch. With ``tokens="lead"`` it covers one (ST-MEM: Na
et al., ICLR 2024): N = L * (T // patch), lead after lead; every lead has an embedding and a separator token at each
end. The tokens know their place by themselves, so ``encode`` takes any of them: masked objectives encode the visible
alone.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from ssl_ecg.backbones.registry import register
from ssl_ecg.backbones.tokens import TokenBackbone
from ssl_ecg.backbones.transformer import (
    embedding,
    initialise,
    layer_norm,
    position_table,
    positions,
    transformer_blocks,
)

TOKENS = ("all_leads", "lead")


class ViT1d(TokenBackbone):
    """Vision transformer over time patches of all leads together, or of each lead.

    No token attends to one of what was not recorded, its features are 0, and pooling leaves them out; the separators of
    such a lead stay, with nothing between them. Where a patch covers all leads, a lead that is 0 adds nothing to it.

    Args:
        in_leads: leads L.
        tokens: "all_leads" or "lead".
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
        extra: separator tokens that ``encode`` puts in front: 2 for each lead with tokens of its own, or none.

    Raises:
        ValueError: an option out of range, by name.
    """

    def __init__(
        self,
        in_leads: int = 12,
        tokens: str = "all_leads",
        patch: int = 10,
        samples: int = 1000,
        width: int = 192,
        depth: int = 12,
        heads: int = 3,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
    ) -> None:
        by_lead = tokens == "lead"
        super().__init__(in_leads, width, patch, samples, by_lead, 2 * in_leads if by_lead else 0)
        if tokens not in TOKENS:
            raise ValueError(f"tokens={tokens!r}: choose one of {', '.join(TOKENS)}")
        if depth < 1:
            raise ValueError(f"depth={depth}: choose at least one block")
        self.position = position_table(width, self.columns)
        if by_lead:
            self.lead = embedding(in_leads, 1, width)
            self.separator = embedding(2, width)  # at the beginning and at the end of a lead
        self.embedding = nn.Linear(self.values, width)  # on patches: a strided convolution
        self.blocks = transformer_blocks(width, depth, heads, mlp_ratio, (0.0, drop_path))
        self.norm = layer_norm(width)
        initialise(self)

    def content(self, patches: Tensor) -> Tensor:
        """Map patches [B, N, V] to tokens [B, N, D] that do not know their place."""
        return self.embedding(patches)

    def place(self, tokens: int) -> Tensor:
        """Return the positions of N tokens [1, N, D]: of their time and, where they are of one lead, of their lead."""
        place = positions(self.position, tokens // self.rows)
        return (place + self.lead).flatten(0, 1)[None] if self.by_lead else place

    def encode(self, tokens: Tensor, present: Tensor | None = None) -> Tensor:
        """Encode tokens [B, K, D], all or the visible.

        Args:
            tokens: from ``embed``, in any order.
            present: bool [B, K], False where nobody may attend and the result is 0; None: all are present.

        Returns:
            Separators of lead 0, of lead 1, ..., then the tokens: [B, extra + K, D].
        """
        x, attended = self._open(tokens, present)
        for block in self.blocks:
            x = block(x, attn_mask=attended)
        return self._blank(self.norm(x), present)

    def forward_intermediates(self, signal: Tensor, leads: Tensor | None = None) -> list[Tensor]:
        """Return the tokens [B, N, D] after every block, from the first to the last, before the final norm."""
        patches = self.patchify(signal)
        present = self.present(signal.shape[2], patches.shape[1], leads=leads)
        x, attended = self._open(self.embed(patches), present)
        outputs = []
        for block in self.blocks:
            x = block(x, attn_mask=attended)
            outputs.append(self._blank(x, present)[:, self.extra :])
        return outputs

    def group_matcher(self, coarse: bool = False) -> dict[str, object]:
        """Name the layer groups in the order of the data, for timm's layer-wise learning-rate decay."""
        return {
            "stem": r"^(?:position|lead|separator|embedding)",
            "blocks": [(r"^blocks\.(\d+)", None), (r"^norm", (99999,))],
        }

    def _open(self, tokens: Tensor, present: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Put separators in front; return the sequence and which of it may be attended to [B, 1, 1, extra + K]."""
        if self.by_lead:
            ends = (self.separator + self.lead).flatten(0, 1).to(tokens.dtype)
            tokens = torch.cat([ends.expand(tokens.shape[0], -1, -1), tokens], dim=1)
        if present is None:
            return tokens, None
        attended = nn.functional.pad(present, (self.extra, 0), value=True)
        # Where nothing is present attention would divide by 0; what comes of it is set to 0 in the end.
        return tokens, (attended | ~attended.any(1, keepdim=True))[:, None, None]

    def _blank(self, x: Tensor, present: Tensor | None) -> Tensor:
        """Set the tokens of what was not recorded to 0."""
        if present is None:
            return x
        return x * nn.functional.pad(present, (self.extra, 0), value=True)[..., None]


register("vit1d", ViT1d)
register("vit1d_lead", partial(ViT1d, tokens="lead", patch=30))
