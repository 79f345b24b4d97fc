"""Attention rollout (Abnar and Zuidema, ACL 2020): which moments a vision transformer takes its features from.

With the heads' mean attention A of a block, and half of its output from the skip connection, tokens are mixed by
(A + I) / 2; the product over all blocks says how much of each input token is in each output token, and the mean over
the pooled tokens how much is in the features. It knows no output: for what speaks for a class, see ``grad_cam``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ssl_ecg.backbones.bimodal_vit import BimodalViT
from ssl_ecg.backbones.encoder import Encoder
from ssl_ecg.backbones.vit1d import ViT1d
from ssl_ecg.explain.step_times import steps_to_samples


@torch.no_grad()
def attention_rollout(
    encoder: Encoder,
    signal: Tensor,
    recorded: Tensor | None = None,
    leads: Tensor | None = None,
    by_lead: bool = False,
) -> Tensor:
    """Map where the features of a vision transformer come from.

    In the bimodal transformer the rollout goes through the joint blocks and those of time; what comes from the spectrum
    and from the global token is left out.

    Args:
        encoder: with a vision transformer as backbone, in eval mode.
        signal: [B, L, T], millivolts.
        recorded: int64 [B], samples of each record that were recorded; None: all T.
        leads: bool [B, L], leads of each record that were recorded; None: all L.
        by_lead: whether to keep leads apart, where tokens are of one lead; else all leads have the same map.

    Returns:
        float [B, T], or [B, L, T] by lead, not negative, interpolated from tokens to samples.

    Raises:
        ValueError: a backbone without attention, or in training mode.
    """
    backbone = encoder.backbone
    if not isinstance(backbone, ViT1d | BimodalViT):
        raise ValueError(f"backbone={encoder.name!r}: has no attention over time; use grad_cam")
    if encoder.training:
        raise ValueError("encoder is in training mode, in which a map depends on chance: call encoder.eval() first")
    given = signal, recorded, leads
    if isinstance(backbone, ViT1d):
        signal = encoder.prepare(*given).signal
        present = backbone.present(backbone.patchify(signal))
        mixed = _rollout(encoder, given, backbone.blocks)[:, backbone.separators :, backbone.separators :]
        counted = torch.ones_like(mixed[:, 0]) if present is None else present.to(mixed.dtype)
        tokens = torch.einsum("bi,bij->bj", counted / counted.sum(1, keepdim=True).clamp(min=1), mixed)
    else:
        joint = _rollout(encoder, given, backbone.joint).mean(1)
        time = _rollout(encoder, given, backbone.time.blocks)
        tokens = torch.einsum("bi,bij->bj", joint[:, : time.shape[1]], time)
    heat = steps_to_samples(backbone, tokens, signal.shape[2])
    return heat.expand_as(signal) if by_lead else heat.mean(1)


def _rollout(encoder: Encoder, given: tuple[Tensor, Tensor | None, Tensor | None], blocks: Iterable[Any]) -> Tensor:
    """Return how much of each token [B, N, N] (from, to the right) is in each token after the blocks."""
    mixings: list[Tensor] = []

    def watch(attention: Any, given: tuple[Tensor, ...], options: dict[str, Any]) -> None:
        weights = _weights(attention, given[0], options.get("attn_mask"))
        mixings.append((weights + torch.eye(weights.shape[-1], device=weights.device)) / 2)

    watching = [block.attn.register_forward_pre_hook(watch, with_kwargs=True) for block in blocks]
    try:
        encoder.forward_features(*given)
    finally:
        for hook in watching:
            hook.remove()
    mixed = mixings[0]
    for mixing in mixings[1:]:
        mixed = mixing @ mixed
    return mixed


def _weights(attention: nn.Module, x: Tensor, mask: Tensor | None) -> Tensor:
    """Return the heads' mean attention [B, N, N] among tokens [B, N, D], which fused attention does not give."""
    heads: int = attention.num_heads  # type: ignore[assignment]
    q, k, _ = attention.qkv(x).unflatten(2, (3, heads, -1)).transpose(1, 3).unbind(2)  # type: ignore[operator]
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(-1).mean(1)
