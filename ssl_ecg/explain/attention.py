"""Attention rollout (Abnar and Zuidema, ACL 2020): which moments a vision transformer takes its features from.

With the heads' mean attention A of a block, and half of its output from the skip connection, tokens are mixed by
(A + I) / 2; the product over all blocks says how much of each input token is in each output token, and the mean over
the pooled tokens how much is in the features. It knows no output: for what speaks for a class, see ``grad_cam``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ssl_ecg.backbones import TokenBackbone
from ssl_ecg.backbones.base import mean_of_present
from ssl_ecg.backbones.bimodal_vit import BimodalViT
from ssl_ecg.backbones.encoder import Encoder
from ssl_ecg.explain.step_times import steps_to_samples


@torch.no_grad()
def attention_rollout(
    encoder: Encoder,
    signal: Tensor,
    by_lead: bool = False,
    recorded: Tensor | None = None,
    leads: Tensor | None = None,
) -> Tensor:
    """Map where the features of a vision transformer come from.

    In the bimodal transformer the rollout goes through the joint blocks and those of time; what comes from the spectrum
    and from the global token is left out.

    Args:
        encoder: with a vision transformer as backbone, in eval mode.
        signal: [B, L, T], millivolts.
        by_lead: whether to keep leads apart, where tokens are of one lead; else all leads have the same map.
        recorded: int64 [B], samples of each record that were recorded; None: all T.
        leads: bool [B, L], leads of each record that were recorded; None: all L.

    Returns:
        float [B, T], or [B, L, T] by lead, not negative, interpolated from tokens to samples.

    Raises:
        ValueError: a backbone without tokens, with attention that cannot be seen, or in training mode.
    """
    backbone = encoder.backbone
    if not isinstance(backbone, TokenBackbone | BimodalViT):
        raise ValueError(
            f"backbone={encoder.name!r}: has no attention over time; use grad_cam, or derive yours from "
            "ssl_ecg.backbones.TokenBackbone"
        )
    if encoder.training:
        raise ValueError("encoder is in training mode, in which a map depends on chance: call encoder.eval() first")
    with _Watch() as seen:
        features, present = encoder.forward_steps(signal, recorded, leads)
    if isinstance(backbone, TokenBackbone):
        count = backbone.extra + features.shape[1]
        if not seen.weights or any(weights.shape[1:] != (count, count) for weights in seen.weights):
            raise ValueError(
                f"backbone={encoder.name!r}: its attention among {count} tokens was not seen; compute it with "
                "torch.nn.functional.scaled_dot_product_attention or torch.nn.MultiheadAttention"
            )
        mixed = _rollout(seen.weights)[:, backbone.extra :, backbone.extra :]
        tokens = mean_of_present(mixed, present)
    else:
        own = len(backbone.time.blocks)
        joint = mean_of_present(_rollout(seen.weights[-len(backbone.joint) :]), present)
        time = _rollout(seen.weights[:own])
        tokens = torch.einsum("bi,bij->bj", joint[:, : time.shape[1]], time)
    heat = steps_to_samples(backbone, tokens, signal.shape[2])
    return heat.expand_as(signal) if by_lead else heat.mean(1)


def _rollout(weights: Sequence[Tensor]) -> Tensor:
    """Return how much of each token [B, N, N] (from, to the right) is in each token after blocks of these weights."""
    mixed = torch.eye(weights[0].shape[-1], device=weights[0].device)
    for block in weights:
        mixed = (block + torch.eye(block.shape[-1], device=block.device)) / 2 @ mixed
    return mixed


class _Watch(TorchFunctionMode):
    """Keeps the heads' mean attention [B, N, N] of every attention that is computed, in order.

    Fused attention does not give its weights, so they are computed beside it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[Tensor] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            self.weights.append(_weights(*args, **kwargs))
        elif func is F.multi_head_attention_forward:
            output, weights = func(*args, **{**kwargs, "need_weights": True, "average_attn_weights": True})
            self.weights.append(weights)
            return output, weights
        return func(*args, **kwargs)


def _weights(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, *rest: Any, **options: Any
) -> Tensor:
    """Return the mean attention [B, N, N] of the heads, if there are any, of fused attention [B, (heads,) N, width]."""
    scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, -torch.inf) if attn_mask.dtype == torch.bool else scores + attn_mask
    weights = scores.softmax(-1).nan_to_num()  # where nothing may be attended to, nothing is
    return weights.mean(1) if weights.ndim == 4 else weights
