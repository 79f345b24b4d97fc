"""What the transformers share: patches, positions, blocks. The blocks are timm's, with fused attention."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

EPSILON = 1e-6


def patchify(signal: Tensor, patch: int) -> Tensor:
    """Cut a signal into patches over all its leads.

    Args:
        signal: [B, L, T]; samples that do not fill a patch are left out at the end.
        patch: samples P of a patch.

    Returns:
        Patches [B, N, L * P], each laid out as [lead, sample].

    Raises:
        ValueError: a signal shorter than one patch.
    """
    samples = signal.shape[2]
    if samples < patch:
        raise ValueError(f"signal {tuple(signal.shape)}: shorter than one patch of {patch} samples")
    count = samples // patch
    return rearrange(signal[..., : count * patch], "b l (n p) -> b n (l p)", p=patch)


def unpatchify(patches: Tensor, leads: int) -> Tensor:
    """Undo ``patchify``: patches [B, N, L * P] to a signal [B, L, N * P]."""
    return rearrange(patches, "b n (l p) -> b l (n p)", l=leads)


def position_table(width: int, tokens: int) -> nn.Parameter:
    """Return a learnable table of position embeddings [1, D, N] that starts as sines and cosines.

    Their wavelengths run geometrically from 2 pi tokens to 2 pi N. Starting from small noise instead, a masked
    autoencoder of ECGs keeps predicting the mean for thousands of steps: it cannot tell which patches are neighbours.
    """
    phase = torch.arange(tokens) / tokens ** (torch.arange(0, width, 2) / width)[:, None]
    return nn.Parameter(torch.cat([phase.sin(), phase.cos()])[None, :width])


def positions(table: Tensor, tokens: int) -> Tensor:
    """Return position embeddings [1, tokens, D] from a learnt table [1, D, N], interpolated at other lengths."""
    if tokens != table.shape[-1]:
        table = F.interpolate(table, size=tokens, mode="linear", align_corners=False)
    return table.transpose(1, 2)


def transformer_blocks(
    width: int, depth: int, heads: int, mlp_ratio: float = 4.0, drop_path: tuple[float, float] = (0.0, 0.0)
) -> nn.ModuleList:
    """Return pre-norm transformer blocks; ``drop_path`` is the stochastic depth of the first and of the last.

    Raises:
        ValueError: a width that the heads cannot share.
    """
    from timm.models.vision_transformer import Attention, Block

    class FusedAttention(Attention):
        """timm's attention, but in float32 on the CPU, whose fused backward is five times slower in bfloat16."""

        def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
            """Map [B, N, D] to [B, N, D]; ``attn_mask`` is False where a token is not attended to."""
            qkv = self.qkv(x).unflatten(2, (3, self.num_heads, -1)).transpose(1, 3)  # [B, heads, 3, N, D / heads]
            if qkv.dtype in (torch.bfloat16, torch.float16) and not x.is_cuda:
                qkv = qkv.float()
            q, k, v = qkv.unbind(2)
            with torch.autocast(x.device.type, enabled=x.is_cuda and torch.is_autocast_enabled("cuda")):
                attended = F.scaled_dot_product_attention(q, k, v, attn_mask, is_causal=is_causal)
            return self.proj(attended.transpose(1, 2).flatten(2))

    if width % heads:
        raise ValueError(f"width={width}, heads={heads}: choose a width that the heads can share")
    rates = torch.linspace(*drop_path, depth, device="cpu").tolist()
    blocks = [
        Block(width, heads, mlp_ratio, qkv_bias=True, drop_path=rate, norm_layer=layer_norm, attn_layer=FusedAttention)
        for rate in rates
    ]
    return nn.ModuleList(blocks)


def layer_norm(width: int, **options: object) -> nn.LayerNorm:
    """Return a layer norm with the small epsilon that masked autoencoders use."""
    return nn.LayerNorm(width, eps=EPSILON, **options)  # type: ignore[arg-type]


def embedding(*shape: int) -> nn.Parameter:
    """Return learnable tokens, normal with deviation 0.02."""
    return nn.Parameter(0.02 * torch.randn(*shape))


def initialise(module: nn.Module) -> None:
    """Initialise linear layers as masked autoencoders do (He et al., CVPR 2022): Xavier uniform, biases 0."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
