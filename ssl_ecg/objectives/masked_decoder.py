"""Decoding visible tokens into masked patches, with internal representation connections (BMIRC).

A connection brings the output of an encoder block to the decoder: r = Linear(LayerNorm(tap)) at visible positions and
0 at masked ones; a gate g = sigmoid(Linear([r; x])), one number a token, mixes x <- g r + (1 - g) x.
"""

from __future__ import annotations

from collections.abc import Sequence

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
from ssl_ecg.views import Mask, restore_tokens


class Connection(nn.Module):
    """A gated connection from an encoder block [B, K, D] to the decoder's tokens [B, N, E]."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.norm = layer_norm(inputs)
        self.project = nn.Linear(inputs, width)
        self.gate = nn.Linear(2 * width, 1)

    def forward(self, x: Tensor, tap: Tensor, mask: Mask) -> Tensor:
        """Mix the tap's visible tokens into x."""
        r = self.project(self.norm(tap))
        r = restore_tokens(r, r.new_zeros(()), mask.restore)
        return torch.lerp(x, r.to(x.dtype), self.gate(torch.cat([r, x], dim=2)).sigmoid().to(x.dtype))


class MaskedDecoder(nn.Module):
    """Small transformer from visible tokens to the patches of every position.

    Args:
        inputs: width D of the encoder's tokens.
        outputs: values of a patch.
        tokens: positions N that are learnt; at other lengths they are interpolated.
        width: of the decoder's tokens, E.
        depth: blocks.
        heads: attention heads.
        connections: taps that are mixed in, one before each of the blocks 1, 2, ...

    Raises:
        ValueError: a decoder without blocks.
    """

    def __init__(
        self, inputs: int, outputs: int, tokens: int, width: int, depth: int, heads: int, connections: int = 0
    ) -> None:
        super().__init__()
        if depth < 1:
            raise ValueError(f"decoder_depth={depth}: choose at least one block")
        self.norm_in = layer_norm(inputs)
        self.project = nn.Linear(inputs, width)
        self.mask_token = embedding(1, 1, width)
        self.position = position_table(width, tokens)
        self.blocks = transformer_blocks(width, depth, heads)
        self.connections = nn.ModuleList(Connection(inputs, width) for _ in range(connections))
        self.norm_out = layer_norm(width)
        self.output = nn.Linear(width, outputs)
        initialise(self)

    def forward(self, visible: Tensor, taps: Sequence[Tensor], mask: Mask) -> Tensor:
        """Predict patches [B, N, outputs].

        Args:
            visible: the encoder's output at visible positions [B, K, D].
            taps: outputs of encoder blocks [B, K, D], one a connection, in the order in which they are mixed in.
            mask: which positions are visible.
        """
        x = restore_tokens(self.project(self.norm_in(visible)), self.mask_token, mask.restore)
        x = x + positions(self.position, x.shape[1])
        for index, block in enumerate(self.blocks):
            if 0 < index <= len(self.connections):
                x = self.connections[index - 1](x, taps[index - 1], mask)
            x = block(x)
        return self.output(self.norm_out(x))
