"""A transformer of one block, which every masked objective and heat map can use."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssl_ecg.backbones import TokenBackbone, register


class OneBlock(TokenBackbone):
    """Patches of all leads, and torch's own attention between them.

    Args:
        in_leads: leads L.
        width: size D of a token.
        patch: samples of a patch.
        samples: length T that it is made for.
    """

    def __init__(self, in_leads: int = 12, width: int = 12, patch: int = 50, samples: int = 1000) -> None:
        super().__init__(in_leads, width, patch, samples)
        self.embedding = nn.Linear(self.values, width)
        self.position = nn.Parameter(0.02 * torch.randn(1, self.columns, width))
        self.attention = nn.MultiheadAttention(width, num_heads=2, batch_first=True)
        self.norm = nn.LayerNorm(width)

    def content(self, patches: Tensor) -> Tensor:
        """Map patches [B, N, V] to tokens [B, N, D]."""
        return self.embedding(patches)

    def place(self, tokens: int) -> Tensor:
        """Return position embeddings [1, N, D]."""
        return self.position[:, :tokens]

    def encode(self, tokens: Tensor, present: Tensor | None = None) -> Tensor:
        """Encode tokens [B, K, D]."""
        hidden = None if present is None else ~present
        mixed, _ = self.attention(tokens, tokens, tokens, key_padding_mask=hidden)
        return self.norm(tokens + mixed)


register("own_transformer", OneBlock)
